// The form of a slash command: one field for each option, autocomplete above, Enter runs it.
import { nestOptions, OPTION } from "./commands.js";
import { el, fill, iconButton } from "./dom.js";
import { field } from "./fields.js";
import { errorNotice, notice } from "./notices.js";
import { localised, t } from "./texts.js";

export class Prompt {
  #host;
  #app;
  #onDone;
  #entry = null;
  #fields = new Map();

  // onDone(entry | null): the command was sent, or cancelled.
  constructor(host, app, onDone) {
    this.#host = host;
    this.#app = app;
    this.#onDone = onDone;
  }

  get isOpen() {
    return this.#entry !== null;
  }

  // rest: the text after the command's name, for the first text field.
  open(entry, rest = "") {
    this.close();
    this.#entry = entry;
    for (const option of entry.options.filter((one) => one.required)) this.#add(option);
    this.#render();
    const first = [...this.#fields.values()].find((one) => one.takesText);
    if (first && rest) first.setText(rest);
    this.#focusOn((rest && first) || [...this.#fields.values()][0]);
    if (!this.#fields.size) this.#host.querySelector("[type=submit]").focus();
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
    this.#entry = null;
    this.#host.hidden = true;
    fill(this.#host);
  }

  #leave() {
    this.close();
    this.#onDone(null);
  }

  // Puts a dropped, pasted or chosen image into an attachment option, if there is one.
  takeFile(file) {
    const waiting = [...this.#fields.values()].find((one) => one.takesFile) ?? this.#addFileOption();
    if (!waiting) return false;
    waiting.setFile(file);
    return true;
  }

  #addFileOption() {
    const option = this.#entry?.options.find((one) => one.type === OPTION.ATTACHMENT);
    if (!option) return null;
    this.#add(option);
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
        host: this.#host,
        choices,
        onKey: (event, one) => this.#key(event, one),
        onFocus: () => this.#explain(option),
      }),
    );
  }

  #render() {
    const entry = this.#entry;
    const spare = entry.options.filter((option) => !this.#fields.has(option.name));
    const form = el(
      "form",
      {
        class: "prompt",
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
        [...this.#fields].map(([name, one]) =>
          this.#cell(
            entry.options.find((option) => option.name === name),
            one,
          ),
        ),
        spare.map((option) =>
          el(
            "button",
            {
              type: "button",
              class: "chip",
              title: localised(option, "description"),
              "aria-label": t("addOption", { name: localised(option, "name") }),
              on: { click: () => this.#extend(option) },
            },
            `+ ${localised(option, "name")}`,
          ),
        ),
        el("button", { type: "submit", class: "c-button primary run" }, t("runCommand")),
      ),
    );
    this.#host.hidden = false;
    fill(this.#host, form);
    for (const one of this.#fields.values()) one.attach(form);
  }

  #cell(option, one) {
    const remove = option.required
      ? null
      : iconButton("close", t("removeOption", { name: localised(option, "name") }), () => this.#shrink(option), {
          class: "icon-button tiny",
        });
    return el(
      "div",
      { class: "prompt-field" },
      el("label", { for: one.id }, localised(option, "name")),
      one.node,
      remove,
    );
  }

  #extend(option) {
    this.#add(option);
    this.#render();
    this.#focusOn(this.#fields.get(option.name));
  }

  #shrink(option) {
    this.#fields.get(option.name).dispose();
    this.#fields.delete(option.name);
    this.#render();
    this.#focusOn([...this.#fields.values()][0]);
  }

  #focusOn(one) {
    one?.focus();
  }

  #explain(option) {
    const about = this.#host.querySelector(".prompt-about");
    if (about) about.textContent = localised(option, "description") || this.#entry.description;
  }

  #key(event, one) {
    if (event.key === "Escape") {
      event.preventDefault();
      this.#leave();
    } else if (
      event.key === "Backspace" &&
      one.takesText &&
      !event.target.value &&
      this.#fields.values().next().value === one
    ) {
      event.preventDefault();
      this.#leave();
    }
  }

  #values() {
    const filled = [...this.#fields]
      .map(([name, one]) => [name, one.read()])
      .filter(([, value]) => value !== undefined && value !== "");
    return new Map(filled);
  }

  #missing() {
    const values = this.#values();
    return this.#entry.options.find((option) => option.required && !values.has(option.name));
  }

  // Sends the command, or names the option that is missing.
  async run() {
    const missing = this.#missing();
    if (missing) {
      notice(t("required", { name: localised(missing, "name") }), "error");
      this.#focusOn(this.#fields.get(missing.name));
      return;
    }
    const [entry, values, place] = [this.#entry, this.#values(), this.#app.place()];
    this.close();
    this.#onDone(entry);
    try {
      const attachments = await this.#upload(values, place);
      await this.#app.session.interactions.slash(entry.command, place, nestOptions(entry, values), attachments);
    } catch (error) {
      errorNotice(error);
    }
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
