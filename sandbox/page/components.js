// Renders Components V2 (developer docs, "Component Reference") and legacy rows of buttons.
import { el, fill, icon } from "./dom.js";
import { isWebAddress, jumpTarget } from "./format.js";
import { markdown } from "./markdown.js";
import { fileComponent, gallery, galleryItem, thumbnail } from "./media.js";
import { t } from "./texts.js";

const BUTTON_STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "linking", 6: "primary" };
const LINK_BUTTON = 5;

const MAKERS = {
  1: (row, actions) =>
    el(
      "div",
      { class: "c-row" },
      row.components.map((one) => component(one, actions)),
    ),
  2: button,
  3: (menu, actions) =>
    select(
      menu,
      actions,
      menu.options.map(({ label, value, default: chosen }) => ({ label, value, chosen })),
    ),
  5: (menu, actions) => select(menu, actions, actions.userChoices()),
  6: (menu, actions) => select(menu, actions, actions.roleChoices()),
  7: (menu, actions) => select(menu, actions, [...actions.userChoices(), ...actions.roleChoices()]),
  8: (menu, actions) => select(menu, actions, actions.channelChoices(menu.channel_types)),
  9: section,
  10: (text, actions) => el("div", { class: "c-text" }, markdown(text.content, actions.names)),
  11: (one) => thumbnail(one),
  12: (one) => gallery(one.items.map(galleryItem)),
  13: (one) => fileComponent(one),
  14: (one) => el("hr", { class: "c-separator", data: { large: one.spacing === 2, line: one.divider !== false } }),
  17: container,
};

// actions: what the components of one message need of the page:
// { names, press(component, values) -> Promise<string|null>, userChoices(), roleChoices(), channelChoices(types) }
export function components(list, actions) {
  return list.map((one) => component(one, actions));
}

function component(one, actions) {
  return MAKERS[one.type]?.(one, actions) ?? null;
}

function section(one, actions) {
  const accessory = one.accessory ? component(one.accessory, actions) : null;
  return el(
    "div",
    { class: "c-section" },
    el("div", { class: "c-section-texts" }, components(one.components, actions)),
    accessory,
  );
}

function container(one, actions) {
  const accent =
    one.accent_color === null || one.accent_color === undefined
      ? {}
      : { "--accent-line": `#${one.accent_color.toString(16).padStart(6, "0")}` };
  const box = el("div", { class: "c-container", style: accent }, components(one.components, actions));
  return one.spoiler ? covered(box) : box;
}

function covered(box) {
  box.inert = true;
  const cover = el("button", { type: "button", class: "veil", "aria-label": t("reveal") }, t("spoiler"));
  const frame = el("div", { class: "veiled" }, box, cover);
  cover.addEventListener("click", () => {
    frame.classList.add("shown");
    box.inert = false;
    cover.remove();
  });
  return frame;
}

function button(one, actions) {
  const label = [
    one.emoji?.name ? el("span", { class: "emoji", "aria-hidden": one.label ? "true" : null }, one.emoji.name) : null,
    one.label ?? null,
  ];
  const name = `c-button ${BUTTON_STYLES[one.style] ?? "secondary"}`;
  if (one.style === LINK_BUTTON) return linkButton(one, label, name, actions);
  const node = el(
    "button",
    { type: "button", class: name, disabled: Boolean(one.disabled), data: { customId: one.custom_id ?? "" } },
    label,
  );
  node.addEventListener("click", () => busyWhile(node, actions.press(one)));
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
  return el("a", { class: name, href: one.url, target: "_blank", rel: "noopener noreferrer" }, label, icon("out", 16));
}

async function busyWhile(node, work) {
  node.disabled = true;
  node.classList.add("busy");
  node.setAttribute("aria-busy", "true");
  await work;
  node.disabled = false;
  node.classList.remove("busy");
  node.removeAttribute("aria-busy");
}

function select(menu, actions, choices) {
  const many = (menu.max_values ?? 1) > 1;
  const node = el("select", {
    class: "c-select",
    multiple: many,
    disabled: Boolean(menu.disabled),
    "aria-label": menu.placeholder ?? t("choose"),
    data: { customId: menu.custom_id },
  });
  const blank = many
    ? null
    : el(
        "option",
        { value: "", disabled: true, selected: !choices.some((one) => one.chosen) },
        menu.placeholder ?? t("choose"),
      );
  fill(
    node,
    blank,
    choices.map(({ label, value, chosen }) => el("option", { value, selected: Boolean(chosen) }, label)),
  );
  node.addEventListener("change", () =>
    busyWhile(
      node,
      actions.press(
        menu,
        [...node.selectedOptions].map((one) => one.value),
      ),
    ),
  );
  return node;
}
