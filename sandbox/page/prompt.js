// The form of a slash command: a field for each option, optional ones on request; Enter runs it, Escape leaves it.
import { nestOptions, OPTION } from "./commands.js";
import { byId, el, fill, iconButton } from "./dom.js";
import { field } from "./fields.js";
import { errorNotice } from "./notices.js";
import { localised, t } from "./texts.js";

// So many optional options are offered at once; the others are behind "+4 more".
const OFFERED = 3;

export class Prompt {
  #host;
  #app;
  #onDone;
  #entry = null;
  #fields = new Map();
  #problems = new Map();
  #showsAll = false;
  #busy = false;

  // onDone(): the command was sent, or cancelled.
  constructor(host, app, onDone) {
    this.#host = host;
    this.#app = app;
    this.#onDone = onDone;
  }

  get isOpen() {
    return this.#entry !== null;
  }

  // rest: the text after the command's name, for the first text field. values: {option name: text}.
  open(entry, rest = "", values = {}) {
    this.close();
    this.#entry = entry;
    for (const option of entry.options.filter((one) => one.required || one.name in values)) this.#add(option);
    // "/find a cat" gives a text though the option is not required, and one that stands first is what most people fill in.
    if (rest && !this.#firstText) this.#addFirst(isText);
    if (!this.#fields.size && entry.options[0] && isText(entry.options[0])) this.#add(entry.options[0]);
    this.#render();
    for (const [name, text] of Object.entries(values)) this.#fields.get(name)?.setText(text);
    if (rest) this.#firstText?.setText(rest);
    const first = (rest && this.#firstText) || [...this.#fields.values()][0];
    if (first) first.focus();
    else this.#host.querySelector("[type=submit]").focus();
  }

  get #firstText() {
    return [...this.#fields.values()].find((one) => one.takesText);
  }

  #addFirst(wanted) {
    const option = this.#entry.options.find(wanted);
    if (option) this.#add(option);
    return option;
  }

  redraw() {
    if (!this.isOpen) return;
    const focused = document.activeElement;
    this.#render();
    if (this.#host.contains(focused)) focused.focus();
  }

  close() {
    for (const one of this.#fields.values()) one.dispose();
    this.#fields.clear();
    this.#problems.clear();
    this.#entry = null;
    this.#showsAll = false;
    this.#busy = false;
    this.#host.hidden = true;
    fill(this.#host);
  }

  #leave() {
    this.close();
    this.#onDone();
  }

  // Puts a dropped, pasted or chosen image into an attachment option, if there is one.
  takeFile(file) {
    const waiting = [...this.#fields.values()].find((one) => one.takesFile) ?? this.#addFileOption();
    if (!waiting) return false;
    waiting.setFile(file);
    return true;
  }

  #addFileOption() {
    const option = this.#addFirst((one) => one.type === OPTION.ATTACHMENT);
    if (!option) return null;
    this.#render();
    return this.#fields.get(option.name);
  }

  #add(option) {
    const choices = (focused) =>
      this.#app.session.interactions.autocomplete(
        this.#entry.command,
        this.#app.place(),
        nestOptions(this.#entry, this.#values(), focused),
      );
    this.#fields.set(
      option.name,
      field(option, {
        app: this.#app,
        describedBy: `${aboutId(option)} ${problemId(option)}`,
        choices,
        onKey: (event, one) => this.#key(event, one),
        onFocus: () => this.#explain(option),
      }),
    );
  }

  #render() {
    const entry = this.#entry;
    const form = el(
      "form",
      {
        class: "prompt",
        novalidate: true,
        "aria-label": t("commandPrompt", { name: `/${entry.label}` }),
        on: {
          submit: (event) => {
            event.preventDefault();
            this.run();
          },
        },
      },
      el(
        "div",
        { class: "prompt-info" },
        el("b", {}, `/${entry.label}`),
        el("span", { class: "prompt-about" }, entry.description),
        iconButton("close", t("closeCommand"), () => this.#leave()),
      ),
      el(
        "div",
        { class: "prompt-row" },
        [...this.#fields].map(([name, one]) => this.#cell(this.#option(name), one)),
        this.#chips(),
        el("button", { type: "submit", class: "c-button primary run" }, t("runCommand")),
      ),
    );
    this.#host.hidden = false;
    fill(this.#host, form);
    for (const one of this.#fields.values()) one.attach(form);
    for (const [name, problem] of this.#problems) this.#showProblem(this.#option(name), problem);
  }

  #option = (name) => this.#entry.options.find((option) => option.name === name);

  #cell(option, one) {
    const name = localised(option, "name");
    const remove = option.required
      ? null
      : iconButton("close", t("removeOption", { name }), () => this.#shrink(option), { class: "icon-button tiny" });
    return el(
      "div",
      { class: "prompt-cell", data: { option: option.name } },
      el("div", { class: "prompt-field" }, el("label", { for: one.id }, name), one.node, remove),
      el("span", { class: "unseen", id: aboutId(option) }, localised(option, "description")),
      el("p", { class: "failure", id: problemId(option), role: "alert" }),
    );
  }

  // The optional options that are not open yet.
  #chips() {
    const spare = this.#entry.options.filter((option) => !this.#fields.has(option.name));
    const shown = this.#showsAll || spare.length === OFFERED + 1 ? spare : spare.slice(0, OFFERED);
    const more = spare.length - shown.length;
    return [
      shown.map((option) => this.#chip(option)),
      more
        ? el(
            "button",
            { type: "button", class: "chip", on: { click: () => this.#showAll(shown.length) } },
            t("moreOptions", { count: more }),
          )
        : null,
    ];
  }

  #chip(option) {
    const name = localised(option, "name");
    const about = localised(option, "description");
    return el(
      "button",
      {
        type: "button",
        class: "chip option",
        title: about,
        "aria-label": t("addOption", { name, about }),
        data: { option: option.name },
        on: { click: () => this.#extend(option), focus: () => this.#explain(option) },
      },
      `+ ${name}`,
    );
  }

  #showAll(seen) {
    this.#showsAll = true;
    this.#render();
    this.#host.querySelectorAll(".chip")[seen]?.focus();
  }

  #extend(option) {
    this.#add(option);
    this.#render();
    this.#fields.get(option.name).focus();
  }

  #shrink(option) {
    this.#fields.get(option.name).dispose();
    this.#fields.delete(option.name);
    this.#problems.delete(option.name);
    this.#render();
    const next = [...this.#fields.values()][0] ?? this.#host.querySelector("[type=submit]");
    next.focus();
  }

  #explain(option) {
    const about = this.#host.querySelector(".prompt-about");
    if (about) about.textContent = localised(option, "description") || this.#entry.description;
  }

  #key(event, one) {
    const emptied = event.key === "Backspace" && one.takesText && !event.target.value;
    if (event.key !== "Escape" && !(emptied && this.#fields.values().next().value === one)) return;
    event.preventDefault();
    this.#leave();
  }

  #values() {
    const filled = [...this.#fields]
      .map(([name, one]) => [name, one.read()])
      .filter(([, value]) => value !== undefined && value !== "");
    return new Map(filled);
  }

  // Shows what is wrong with each option; true if nothing is.
  #check() {
    this.#problems.clear();
    const values = this.#values();
    for (const [name, one] of this.#fields) {
      const option = this.#option(name);
      const missing = option.required && !values.has(name);
      const problem = one.problem() ?? (missing ? t("required", { name: localised(option, "name") }) : null);
      if (problem) this.#problems.set(name, problem);
      this.#showProblem(option, problem);
    }
    this.#fields.get([...this.#problems.keys()][0])?.focus();
    return this.#problems.size === 0;
  }

  #showProblem(option, problem) {
    const { focusable } = this.#fields.get(option.name);
    if (problem) focusable.setAttribute("aria-invalid", "true");
    else focusable.removeAttribute("aria-invalid");
    byId(problemId(option)).textContent = problem ?? "";
  }

  // Sends the command, or names what is wrong. A command that the server refuses stays open.
  async run() {
    if (this.#busy || !this.#check()) return;
    this.#busy = true;
    const [entry, values, place] = [this.#entry, this.#values(), this.#app.place()];
    let sent = false;
    try {
      const attachments = await this.#upload(values, place);
      sent = await this.#app.session.interactions.slash(entry, place, values, attachments);
    } catch (error) {
      errorNotice(error);
    }
    if (this.#entry !== entry) return;
    this.#busy = false;
    if (!sent) return;
    this.close();
    this.#onDone();
  }

  // Files become attachment references; the option's value is the reference's id.
  async #upload(values, { channelId }) {
    const named = [...values].filter(([, value]) => value instanceof File);
    if (!named.length) return [];
    const references = await this.#app.upload(
      channelId,
      named.map(([, file]) => ({ file })),
    );
    named.forEach(([name], index) => values.set(name, references[index].id));
    return references;
  }
}

const isText = ({ type, choices }) => type === OPTION.STRING && !choices?.length;
const aboutId = ({ name }) => `about-${name}`;
const problemId = ({ name }) => `problem-${name}`;
