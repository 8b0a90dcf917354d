// Questions before something is deleted, and the forms (modals) that an application opens.
import { el } from "./dom.js";
import { markdown } from "./markdown.js";
import { t } from "./texts.js";

const PART = { ROW: 1, STRING_SELECT: 3, TEXT_INPUT: 4, TEXT: 10, LABEL: 18 };
const PARAGRAPH = 2;

function show(dialog) {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Resolves to whether the person agreed.
export function confirm(title, explained, action) {
  return new Promise((resolve) => {
    const answer = (value) => () => {
      dialog.returnValue = value;
      dialog.close();
    };
    const dialog = el(
      "dialog",
      { class: "sheet", "aria-label": title },
      el("h2", {}, title),
      el("p", {}, explained),
      el(
        "div",
        { class: "sheet-foot" },
        el("button", { type: "button", class: "c-button secondary", on: { click: answer("") } }, t("cancel")),
        el(
          "button",
          { type: "button", class: "c-button danger", autofocus: true, on: { click: answer("yes") } },
          action,
        ),
      ),
    );
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
    show(dialog);
  });
}

// onSubmit(components) -> Promise<string|null>: null closes the form, a sentence is shown in it.
export function openModal(modal, names, onSubmit) {
  const fields = [];
  const failure = el("div", { class: "failure", role: "alert", hidden: true });
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", {}, modal.title),
    modal.components.map((part) => formPart(part, fields, names)),
    failure,
    el(
      "div",
      { class: "sheet-foot" },
      el("button", { type: "button", class: "c-button secondary", on: { click: () => dialog.close() } }, t("cancel")),
      el("button", { type: "submit", class: "c-button primary" }, t("submit")),
    ),
  );
  const dialog = el("dialog", { class: "sheet", "aria-label": modal.title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = await onSubmit(modal.components.map(filledPart(fields)));
    if (!problem) return dialog.close();
    failure.textContent = problem;
    failure.hidden = false;
    return undefined;
  });
  show(dialog);
}

function formPart(part, fields, names, label = null) {
  if (part.type === PART.ROW) return part.components.map((one) => formPart(one, fields, names));
  if (part.type === PART.LABEL) return formPart(part.component, fields, names, part);
  if (part.type === PART.TEXT) return el("div", {}, markdown(part.content, names));
  const input = part.type === PART.STRING_SELECT ? choiceInput(part) : textInput(part);
  fields.push({ id: part.custom_id, type: part.type, input });
  return el(
    "label",
    { class: "form-field" },
    el("span", {}, label?.label ?? part.label ?? ""),
    label?.description ? el("small", {}, label.description) : null,
    input,
  );
}

function textInput(part) {
  const props = {
    required: part.required !== false,
    maxlength: part.max_length ?? null,
    minlength: part.min_length ?? null,
    placeholder: part.placeholder ?? null,
    value: part.value ?? "",
  };
  return part.style === PARAGRAPH ? el("textarea", { ...props, rows: 4 }) : el("input", { type: "text", ...props });
}

function choiceInput(part) {
  return el(
    "select",
    { multiple: (part.max_values ?? 1) > 1, required: part.required !== false },
    part.options.map(({ label, value, default: chosen }) => el("option", { value, selected: Boolean(chosen) }, label)),
  );
}

const filledPart = (fields) => (part) => {
  if (part.components) return { type: part.type, components: part.components.map(filledPart(fields)) };
  if (part.component) return { type: part.type, component: filledPart(fields)(part.component) };
  const field = fields.find((one) => one.id === part.custom_id);
  if (!field) return { type: part.type };
  if (part.type === PART.STRING_SELECT)
    return {
      type: part.type,
      custom_id: part.custom_id,
      values: [...field.input.selectedOptions].map((one) => one.value),
    };
  return { type: part.type, custom_id: part.custom_id, value: field.input.value };
};
