// One field for each option of a command. All have the same interface:
// { id, node, takesText, takesFile, focus(), problem() -> text or null, read(), setText?, setFile?, attach(form), dispose() }
import { lengthProblem, numberProblem } from "./checks.js";
import { OPTION } from "./commands.js";
import { el, fill, icon } from "./dom.js";
import { Suggest } from "./suggest.js";
import { localised, t } from "./texts.js";

const TYPING_PAUSE_MS = 200;
const LONGEST_TEXT = 6000;
const ENTITIES = {
  [OPTION.USER]: "user",
  [OPTION.CHANNEL]: "channel",
  [OPTION.ROLE]: "role",
  [OPTION.MENTIONABLE]: "mentionable",
};
let count = 0;

// context: { app, describedBy, choices(optionName) -> Promise<[{name, value}]>, onKey(event, field), onFocus() }
export function field(option, context) {
  count += 1;
  const id = `option-${option.name}-${count}`;
  const made = maker(option, context)(option, id, context);
  made.focusable.setAttribute("aria-describedby", context.describedBy);
  made.focusable.addEventListener("focus", context.onFocus);
  made.focusable.addEventListener("keydown", (event) => {
    if (!made.key?.(event)) context.onKey(event, made);
  });
  return Object.assign(made, { id, focus: () => made.focusable.focus() });
}

function maker(option, { app }) {
  if (option.type === OPTION.ATTACHMENT) return attachment;
  if (option.type === OPTION.BOOLEAN) return choosing(yesOrNo);
  if (option.choices?.length) return choosing(() => option.choices.map(choiceItem));
  const kind = ENTITIES[option.type];
  if (kind) return choosing(() => app.choices(kind, option.channel_types));
  return option.autocomplete ? completing : text;
}

const yesOrNo = () => [
  { label: t("yes"), value: "true" },
  { label: t("no"), value: "false" },
];

const choiceItem = (choice) => ({ label: localised(choice, "name"), value: choice.value });

const nothing = () => {};
const isNumber = ({ type }) => type === OPTION.INTEGER || type === OPTION.NUMBER;

function text(option, id) {
  const input = el("input", {
    id,
    type: "text",
    inputmode: isNumber(option) ? (option.type === OPTION.INTEGER ? "numeric" : "decimal") : null,
    autocomplete: "off",
    placeholder: localised(option, "description"),
  });
  return {
    node: input,
    focusable: input,
    takesText: true,
    takesFile: false,
    read: () => input.value.trim() || undefined,
    problem: () => textProblem(option, input.value.trim()),
    setText: (value) => {
      input.value = value;
      input.dispatchEvent(new Event("input"));
    },
    attach: nothing,
    dispose: nothing,
  };
}

function textProblem(option, entered) {
  if (!entered) return null;
  if (!isNumber(option)) return lengthProblem(entered, option.min_length, option.max_length ?? LONGEST_TEXT);
  const whole = option.type === OPTION.INTEGER;
  return numberProblem(entered, { low: option.min_value, high: option.max_value, whole });
}

// Text with suggestions of the application. Responses to earlier input are discarded.
function completing(option, id, context) {
  const made = text(option, id);
  const input = made.focusable;
  let [suggest, timer, asked, chosen] = [null, null, 0, null];
  const pick = ({ label, value }) => {
    chosen = { label, value };
    input.value = label;
  };
  const isChosen = () => chosen !== null && input.value === chosen.label;
  const ask = async () => {
    asked += 1;
    const mine = asked;
    const choices = await context.choices(option.name);
    if (mine !== asked || document.activeElement !== input) return;
    suggest?.show(choices.map(choiceItem), t("suggestions"), { chosen: -1 });
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
    read: () => (isChosen() ? chosen.value : made.read()),
    problem: () => (isChosen() ? null : made.problem()),
    key: (event) => event.key !== "Tab" && (suggest?.key(event) ?? false),
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

// One of a list, which typing narrows. list() is read each time it opens.
const choosing = (list) => (option, id) => {
  const input = el("input", { id, type: "text", autocomplete: "off", placeholder: t("choose") });
  let [suggest, chosen] = [null, null];
  const show = () => {
    const items = isWhole() ? list() : narrowed(list(), input.value);
    const at = items.findIndex(({ value }) => value === chosen?.value);
    suggest?.show(items, localised(option, "description"), { chosen: Math.max(0, at), emptyText: t("noneOfThese") });
  };
  // Nothing was typed since the choice: the whole list is offered again.
  const isWhole = () => !input.value || input.value === chosen?.label;
  const pick = (item) => {
    chosen = item;
    input.value = item.label;
  };
  const typed = () => {
    chosen = list().find(({ label }) => label.toLowerCase() === input.value.trim().toLowerCase()) ?? null;
    show();
  };
  input.addEventListener("input", typed);
  input.addEventListener("focus", show);
  input.addEventListener("click", show);
  input.addEventListener("blur", () => suggest?.hide());
  const key = (event) => {
    if (event.key === "Tab" && !isWhole() && !chosen) {
      const [first] = narrowed(list(), input.value);
      if (first) pick(first);
    }
    if (event.key === "Tab") return false;
    if (event.key !== "ArrowDown" || suggest.isOpen) return suggest.key(event);
    show();
    return true;
  };
  return {
    node: input,
    focusable: input,
    takesText: false,
    takesFile: false,
    read: () => chosen?.value,
    problem: () => (input.value.trim() && !chosen ? t("noneOfThese") : null),
    key,
    setText: (value) => pick(list().find((item) => item.value === value) ?? { label: value, value }),
    attach: (form) => {
      suggest?.remove();
      suggest = new Suggest(input, form, localised(option, "name"), pick);
    },
    dispose: () => suggest?.remove(),
  };
};

// What begins with the typed text, then what contains it.
function narrowed(items, typed) {
  const wanted = typed.trim().toLowerCase().replace(/^[@#]/, "");
  const bare = ({ label, detail }) => `${label.replace(/^[@#]/, "")} ${detail ?? ""}`.toLowerCase();
  const begins = items.filter((item) => bare(item).startsWith(wanted));
  return [...begins, ...items.filter((item) => !begins.includes(item) && bare(item).includes(wanted))];
}

function attachment(option, id) {
  let file = null;
  const input = el("input", { type: "file", accept: "image/*", hidden: true });
  const face = el("span", { class: "file-face" });
  const button = el(
    "button",
    { type: "button", id, class: "file-button", on: { click: () => input.click() } },
    icon("image", 18),
    face,
  );
  const setFile = (given) => {
    file = given;
    fill(face, file ? [el("img", { src: URL.createObjectURL(file), alt: "" }), file.name] : t("chooseFile"));
  };
  input.addEventListener("change", () => {
    if (input.files.length) setFile(input.files[0]);
  });
  setFile(null);
  return {
    node: el("span", { class: "file-field" }, input, button),
    focusable: button,
    takesText: false,
    takesFile: true,
    read: () => file ?? undefined,
    problem: () => null,
    setFile,
    attach: nothing,
    dispose: nothing,
  };
}
