// The inputs of a modal. All have the same interface: { node, about, files?, focus(), check() -> boolean, read(idOf) }.
import { countProblem, lengthProblem } from "./checks.js";
import { el, fill, icon, iconButton } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { fileSize } from "./format.js";
import { Picker, pickerChoices } from "./picker.js";
import { t } from "./texts.js";

const PARAGRAPH = 2;
const LONGEST_TEXT = 4000;
const MAKERS = {
  4: textInput,
  3: select,
  5: select,
  6: select,
  7: select,
  8: select,
  19: fileUpload,
  21: group,
  22: group,
  23: checkbox,
};
const RADIO_GROUP = 21;
let count = 0;

// input: the component; context: { label, about, choices(kind, types) }.
export function modalField(input, context) {
  count += 1;
  const id = `modal-input-${count}`;
  const required = input.required !== false;
  const [aboutId, problemId] = [`${id}-about`, `${id}-problem`];
  const describedBy = context.about ? `${aboutId} ${problemId}` : problemId;
  const made = MAKERS[input.type](input, { ...context, id, required, describedBy });
  const problem = el("p", { class: "failure", id: problemId, role: "alert" });
  const caption = [
    context.label,
    required && !made.isChecked ? el("span", { class: "needed", "aria-hidden": "true" }, " *") : null,
  ];
  const node = el(
    made.isGroup ? "fieldset" : "div",
    { class: "modal-field", "aria-describedby": made.isGroup ? describedBy : null },
    made.isGroup ? el("legend", {}, caption) : el("label", { for: id, id: `${id}-label` }, caption),
    context.about ? el("p", { class: "modal-about", id: aboutId }, context.about) : null,
    made.node,
    problem,
  );
  return {
    node,
    about: { type: input.type, id: input.id, custom_id: input.custom_id },
    get files() {
      return made.files;
    },
    focus: () => made.focusable().focus(),
    read: made.read,
    check() {
      const wrong = made.problem();
      fill(problem, wrong);
      if (wrong) made.focusable().setAttribute("aria-invalid", "true");
      else made.focusable().removeAttribute("aria-invalid");
      return !wrong;
    },
  };
}

function textInput(input, { id, required, describedBy }) {
  const node = el(input.style === PARAGRAPH ? "textarea" : "input", {
    id,
    class: "field-input",
    type: input.style === PARAGRAPH ? null : "text",
    rows: input.style === PARAGRAPH ? "4" : null,
    placeholder: input.placeholder,
    required,
    autocomplete: "off",
    "aria-describedby": describedBy,
    value: input.value ?? "",
  });
  const problem = () => {
    if (!node.value.trim()) return required ? t("needed") : null;
    return lengthProblem(node.value, input.min_length, input.max_length ?? LONGEST_TEXT);
  };
  return { node, focusable: () => node, problem, read: () => ({ value: node.value }) };
}

function select(input, { id, label, required, describedBy, choices }) {
  const low = required ? Math.max(1, input.min_values ?? 1) : 0;
  const high = input.max_values ?? 1;
  const picker = new Picker({
    choices: pickerChoices(input, { choices }),
    min: low,
    max: high,
    placeholder: input.placeholder ?? t("choose"),
    label,
    id,
    describedBy,
    lenient: true,
  });
  const problem = () => {
    const chosen = picker.values.length;
    if (!chosen) return required ? t("needed") : null;
    return countProblem(chosen, Math.max(low, input.min_values ?? 1), high);
  };
  return { node: picker.node, focusable: () => picker.face, problem, read: () => ({ values: picker.values }) };
}

function fileUpload(input, { id, required, describedBy }) {
  const files = [];
  const high = input.max_values ?? 1;
  const chooser = el("input", { type: "file", multiple: high > 1, hidden: true });
  const list = el("ul", { class: "modal-files" });
  const button = el(
    "button",
    {
      type: "button",
      class: "c-button secondary",
      id,
      "aria-describedby": describedBy,
      on: { click: () => chooser.click() },
    },
    icon("file", 18),
    t(high > 1 ? "chooseFiles" : "chooseAFile"),
  );
  const draw = () =>
    fill(
      list,
      files.map((file) => {
        const drop = () => {
          files.splice(files.indexOf(file), 1);
          draw();
          button.focus();
        };
        const remove = iconButton("close", t("removeFile", { name: file.name }), drop);
        return el("li", {}, el("span", {}, file.name), el("small", {}, fileSize(file.size)), remove);
      }),
    );
  chooser.addEventListener("change", () => {
    if (high === 1) files.length = 0;
    files.push(...chooser.files);
    chooser.value = "";
    draw();
  });
  const problem = () => {
    if (!files.length) return required ? t("needed") : null;
    return countProblem(files.length, input.min_values ?? 1, high);
  };
  return {
    node: el("div", {}, chooser, button, list),
    files,
    focusable: () => button,
    problem,
    read: (idOf) => ({ values: files.map(idOf) }),
  };
}

// Radio buttons, or boxes to tick.
function group(input, { id, required }) {
  const radio = input.type === RADIO_GROUP;
  const boxes = input.options.map(({ label, value, description, emoji, default: chosen }) => {
    const box = el("input", { type: radio ? "radio" : "checkbox", name: id, value });
    box.checked = Boolean(chosen);
    const texts = el(
      "span",
      { class: "picker-texts" },
      el("span", {}, label),
      description ? el("small", {}, description) : null,
    );
    return { box, node: el("label", { class: "modal-option" }, box, emoji ? emojiNode(emoji, true) : null, texts) };
  });
  const chosen = () => boxes.filter(({ box }) => box.checked).map(({ box }) => box.value);
  const problem = () => {
    if (!chosen().length) return required ? t("needed") : null;
    return radio ? null : countProblem(chosen().length, input.min_values ?? 1, input.max_values ?? boxes.length);
  };
  return {
    isGroup: true,
    node: el(
      "div",
      { class: "modal-options" },
      boxes.map(({ node }) => node),
    ),
    focusable: () => (boxes.find(({ box }) => box.checked) ?? boxes[0]).box,
    problem,
    read: () => (radio ? { value: chosen()[0] ?? null } : { values: chosen() }),
  };
}

function checkbox(input, { id, describedBy }) {
  const box = el("input", { type: "checkbox", id, "aria-describedby": describedBy });
  box.checked = Boolean(input.default);
  return {
    isChecked: true,
    node: box,
    focusable: () => box,
    problem: () => null,
    read: () => ({ value: box.checked }),
  };
}
