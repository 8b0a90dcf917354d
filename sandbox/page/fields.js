// One field type for each type of command option. All have the same interface:
// { id, node, takesText, takesFile, focus(), read(), setText?, setFile?, attach(form), dispose() }
import { OPTION } from "./commands.js";
import { el, fill, icon } from "./dom.js";
import { Suggest } from "./suggest.js";
import { localised, t } from "./texts.js";

const TYPING_PAUSE_MS = 200;
let count = 0;

// context: { app, choices(optionName) -> Promise<[{name, value}]>, onKey(event, field), onFocus() }
export function field(option, context) {
  count += 1;
  const id = `option-${option.name}-${count}`;
  const made = maker(option)(option, id, context);
  made.focusable.addEventListener("focus", context.onFocus);
  made.focusable.addEventListener("keydown", (event) => {
    if (!made.key?.(event)) context.onKey(event, made);
  });
  return Object.assign(made, { id, focus: () => made.focusable.focus() });
}

function maker(option) {
  if (option.choices?.length)
    return (one, id) =>
      select(
        one,
        id,
        one.choices.map((choice) => ({ label: localised(choice, "name"), value: choice.value })),
      );
  if (option.type === OPTION.BOOLEAN)
    return (one, id) =>
      select(one, id, [
        { label: t("yes"), value: "true" },
        { label: t("no"), value: "false" },
      ]);
  if (option.type === OPTION.CHANNEL)
    return (one, id, { app }) => select(one, id, app.choices("channel", one.channel_types));
  if (option.type === OPTION.ROLE) return (one, id, { app }) => select(one, id, app.choices("role"));
  if (option.type === OPTION.USER) return (one, id, { app }) => select(one, id, app.choices("user"));
  if (option.type === OPTION.MENTIONABLE) return (one, id, { app }) => select(one, id, app.choices("mentionable"));
  if (option.type === OPTION.ATTACHMENT) return attachment;
  return text;
}

const nothing = () => {};

function select(option, id, choices) {
  const node = el(
    "select",
    { id, required: option.required === true },
    el("option", { value: "" }, t("choose")),
    choices.map(({ label }, index) => el("option", { value: String(index) }, label)),
  );
  return {
    node,
    focusable: node,
    takesText: false,
    takesFile: false,
    read: () => (node.value === "" ? undefined : choices[Number(node.value)].value),
    attach: nothing,
    dispose: nothing,
  };
}

function text(option, id, context) {
  const isNumber = option.type === OPTION.INTEGER || option.type === OPTION.NUMBER;
  const input = el("input", {
    id,
    type: isNumber ? "number" : "text",
    step: option.type === OPTION.NUMBER ? "any" : null,
    min: option.min_value ?? null,
    max: option.max_value ?? null,
    minlength: option.min_length ?? null,
    maxlength: option.max_length ?? null,
    autocomplete: "off",
    placeholder: localised(option, "description"),
  });
  const made = {
    node: input,
    focusable: input,
    takesText: true,
    takesFile: false,
    read: () => input.value.trim() || undefined,
    setText: (value) => {
      input.value = value;
      input.dispatchEvent(new Event("input"));
    },
    attach: nothing,
    dispose: nothing,
  };
  return option.autocomplete ? completing(made, input, option, context) : made;
}

// Responses to earlier input are discarded.
function completing(made, input, option, context) {
  let [suggest, timer, asked, chosen] = [null, null, 0, null];
  const pick = ({ label, value }) => {
    chosen = { label, value };
    input.value = label;
  };
  const ask = async () => {
    asked += 1;
    const mine = asked;
    const choices = await context.choices(option.name);
    if (mine !== asked || document.activeElement !== input) return;
    suggest?.show(
      choices.map(({ name, value, ...more }) => ({ label: localised({ name, ...more }, "name"), value })),
      t("suggestions"),
      { chosen: -1 },
    );
  };
  const typing = () => {
    clearTimeout(timer);
    timer = setTimeout(ask, TYPING_PAUSE_MS);
  };
  input.addEventListener("input", typing);
  input.addEventListener("focus", typing);
  input.addEventListener("blur", () => {
    asked += 1;
    suggest?.hide();
  });
  return {
    ...made,
    read: () => (chosen && input.value === chosen.label ? chosen.value : input.value.trim() || undefined),
    key: (event) => suggest?.key(event) ?? false,
    attach: (form) => {
      suggest?.remove();
      suggest = new Suggest(input, form, t("suggestions"), pick);
    },
    dispose: () => {
      clearTimeout(timer);
      suggest?.remove();
    },
  };
}

function attachment(option, id) {
  let file = null;
  const input = el("input", { id, type: "file", accept: "image/*", class: "unseen" });
  const face = el("span", { class: "file-face" });
  const button = el(
    "button",
    { type: "button", class: "file-button", on: { click: () => input.click() } },
    icon("image", 18),
    face,
  );
  const setFile = (given) => {
    file = given;
    fill(face, file ? [el("img", { src: URL.createObjectURL(file), alt: "" }), file.name] : t("chooseFile"));
  };
  input.addEventListener("change", () => setFile(input.files[0] ?? null));
  setFile(null);
  return {
    node: el("span", { class: "file-field" }, input, button),
    focusable: button,
    takesText: false,
    takesFile: true,
    read: () => file ?? undefined,
    setFile,
    attach: nothing,
    dispose: nothing,
  };
}
