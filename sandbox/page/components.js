// Renders Components V2 (developer docs, "Component Reference") and legacy rows of buttons.
import { el, icon } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { isWebAddress, jumpTarget } from "./format.js";
import { markdown } from "./markdown.js";
import { cover, fileComponent, gallery, galleryItem, thumbnail } from "./media.js";
import { Picker, pickerChoices } from "./picker.js";
import { isImage } from "./state.js";
import { t } from "./texts.js";

const BUTTON_STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "linking", 6: "primary" };
const LINK_BUTTON = 5;

const MAKERS = {
  1: (row, actions) => el("div", { class: "c-row" }, components(row.components, actions)),
  2: button,
  3: select,
  5: select,
  6: select,
  7: select,
  8: select,
  9: section,
  10: (text, actions) => el("div", { class: "c-text" }, markdown(text.content, actions.names)),
  11: (one, actions) => thumbnail(one, actions.messageId),
  12: (one, actions) => gallery(one.items.map(galleryItem), actions.messageId),
  13: (one) => fileComponent(one),
  14: (one) => el("hr", { class: "c-separator", data: { large: one.spacing === 2, line: one.divider !== false } }),
  17: container,
};

// actions: what the components of one message need of the page:
// { names, messageId, press(component, values) -> Promise, choices(kind, channelTypes) }
export function components(list, actions) {
  return list.map((one) => MAKERS[one.type]?.(one, actions) ?? null);
}

function section(one, actions) {
  return el(
    "div",
    { class: "c-section" },
    el("div", { class: "c-section-texts" }, components(one.components, actions)),
    components(one.accessory ? [one.accessory] : [], actions),
  );
}

function container(one, actions) {
  const accent =
    one.accent_color === null || one.accent_color === undefined
      ? {}
      : { "--accent-line": `#${one.accent_color.toString(16).padStart(6, "0")}` };
  const box = el("div", { class: "c-container", style: accent }, components(one.components, actions));
  return one.spoiler ? cover(box) : box;
}

function button(one, actions) {
  const label = [one.emoji ? emojiNode(one.emoji, Boolean(one.label)) : null, one.label ?? null];
  const name = `c-button ${BUTTON_STYLES[one.style] ?? "secondary"}`;
  if (one.style === LINK_BUTTON) return linkButton(one, label, name, actions);
  const node = el(
    "button",
    { type: "button", class: name, disabled: Boolean(one.disabled), data: { customId: one.custom_id ?? "" } },
    el("span", { class: "c-button-label" }, label),
  );
  node.addEventListener("click", () => whileAwaited(node, () => actions.press(one)));
  return node;
}

function linkButton(one, label, name, actions) {
  const target = jumpTarget(one.url ?? "");
  if (target)
    return el(
      "button",
      { type: "button", class: name, disabled: Boolean(one.disabled), on: { click: () => actions.names.jump(target) } },
      label,
      icon("forward", 16),
    );
  if (!isWebAddress(one.url)) return el("span", { class: "c-text" }, label);
  if (one.disabled) return el("button", { type: "button", class: name, disabled: true }, label, icon("out", 16));
  return el("a", { class: name, href: one.url, target: "_blank", rel: "noopener noreferrer" }, label, icon("out", 16));
}

function select(menu, actions) {
  const picker = new Picker({
    choices: pickerChoices(menu, actions),
    min: menu.min_values ?? 1,
    max: menu.max_values ?? 1,
    placeholder: menu.placeholder ?? t("choose"),
    disabled: Boolean(menu.disabled),
    customId: menu.custom_id,
    onChange: (values) => whileAwaited(picker.face, () => actions.press(menu, values)),
  });
  return picker.node;
}

// Until the application has responded, the control shows that it waits, and the message's other controls do nothing.
// None is disabled meanwhile: that would take the keyboard focus away.
async function whileAwaited(node, start) {
  const box = node.closest(".components");
  if (box.getAttribute("aria-busy") === "true") return;
  box.setAttribute("aria-busy", "true");
  node.classList.add("busy");
  await start();
  box.removeAttribute("aria-busy");
  node.classList.remove("busy");
}

const GALLERY = 12;
const THUMBNAIL = 11;

// How many pictures a message shows.
export function pictureCount({ attachments = [], components: list = [] }) {
  const within = ({ components: inner = [], accessory }) => [...inner, ...(accessory ? [accessory] : [])];
  const count = (one) =>
    (one.type === GALLERY ? one.items.length : 0) +
    (one.type === THUMBNAIL ? 1 : 0) +
    within(one).reduce((sum, part) => sum + count(part), 0);
  return attachments.filter(isImage).length + list.reduce((sum, one) => sum + count(one), 0);
}
