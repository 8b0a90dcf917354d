// A modal: the form that an application shows. It stays open, with what was entered, until its answer is accepted.
import { el, fill } from "./dom.js";
import { markdown } from "./markdown.js";
import { modalField } from "./modal_fields.js";
import { avatar } from "./people.js";
import { t } from "./texts.js";

const ROW = 1;
const TEXT = 10;
const LABEL = 18;
let count = 0;

// modal: the data of INTERACTION_MODAL_CREATE. desk: { names, choices(kind, types), upload(files) -> references,
// submit(components, attachments) -> Promise<string | null>, an error text or null }.
export function openModal(modal, desk) {
  count += 1;
  const titleId = `modal-${count}`;
  const items = modal.components.map((item) => modalItem(item, desk));
  const problem = el("p", { class: "failure modal-failure", role: "alert" });
  const submit = el("button", { type: "submit", class: "c-button primary" }, t("submit"));
  const form = el(
    "form",
    { novalidate: true },
    el("div", { class: "modal-head" }, avatar({ bot: true }, 28), el("h2", { id: titleId }, modal.title)),
    el(
      "div",
      { class: "modal-items" },
      items.map((item) => item.node),
    ),
    problem,
    el(
      "div",
      { class: "sheet-foot" },
      el("button", { type: "button", class: "c-button secondary", on: { click: () => dialog.close() } }, t("cancel")),
      submit,
    ),
  );
  const dialog = el("dialog", { class: "sheet modal", "aria-labelledby": titleId }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.getAttribute("aria-busy") === "true") return;
    fill(problem);
    const fields = items.map((item) => item.field).filter(Boolean);
    const wrong = fields.filter((one) => !one.check());
    if (wrong.length) return wrong[0].focus();
    form.setAttribute("aria-busy", "true");
    submit.classList.add("busy");
    const refused = await send(items, fields, desk);
    form.removeAttribute("aria-busy");
    submit.classList.remove("busy");
    if (refused === null) return dialog.close();
    return fill(problem, refused);
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (items.find((item) => item.field)?.field ?? submit).focus();
}

// Labels, and the rows of older applications, whose input has its label itself.
function modalItem(item, desk) {
  if (item.type === TEXT) return { node: el("div", { class: "c-text" }, markdown(item.content, desk.names)) };
  const input = item.type === LABEL ? item.component : item.components[0];
  const field = modalField(input, { label: item.label ?? input.label, about: item.description, choices: desk.choices });
  const wrap = (answer) =>
    item.type === ROW ? { type: ROW, components: [answer] } : { type: LABEL, id: item.id, component: answer };
  return { node: field.node, field, wrap };
}

// All files of the modal are uploaded together, so that each reference has an id of its own.
async function send(items, fields, desk) {
  try {
    const files = fields.flatMap((one) => one.files ?? []);
    const references = files.length ? await desk.upload(files.map((file) => ({ file }))) : [];
    const idOf = (file) => references[files.indexOf(file)].id;
    const components = items
      .filter((item) => item.field)
      .map(({ field, wrap }) => wrap({ ...field.about, ...field.read(idOf) }));
    return await desk.submit(components, references);
  } catch (error) {
    return error.message;
  }
}
