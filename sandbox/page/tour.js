// The guided tour: shows the steps (tour_steps.js), ticks what was done, and keeps in the browser how far one came.
import { byId, el, fill, icon, iconButton } from "./dom.js";
import { inLanguage, t } from "./texts.js";
import { STEPS } from "./tour_steps.js";

const KEPT = "magpie-tour";

// Whether the application has registered what a step is about. names: full names of commands, each also with each of its options.
export const isOffered = (step, names) => !step.needs || names.has(step.needs);

export class Tour {
  #steps = [];
  #done;
  #skipped;
  #closed;
  #latest = null;
  #go;

  // go(step): does what the step's button says.
  constructor(go) {
    this.#go = go;
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    this.#closed = kept.closed === true;
    this.#done = new Set(kept.done);
    this.#skipped = new Set(kept.skipped);
  }

  // entries: the application's commands, see commands.js.
  offer(entries) {
    const names = new Set(
      entries.flatMap((one) => [one.name, ...one.options.map(({ name }) => `${one.name} ${name}`)]),
    );
    const steps = STEPS.filter((step) => isOffered(step, names));
    if (steps.length === this.#steps.length && steps.every((step, index) => step === this.#steps[index])) return;
    this.#steps = steps;
    this.render();
  }

  // event: {what: "answer", command, options, button, menu, pictures} when an application has answered this reader,
  // {what: "posted", pictures}, {what: "switched"}.
  tell(event) {
    const done = STEPS.filter((step) => !this.#done.has(step.id) && step.done(event));
    if (!done.length) return;
    for (const step of done) this.#done.add(step.id);
    this.#latest = done.at(-1);
    this.#keep();
    this.render();
  }

  toggle() {
    this.#closed = !this.#closed;
    this.#keep();
    this.render();
    byId(this.#closed ? "tour-button" : "tour").focus();
  }

  #again() {
    this.#done.clear();
    this.#skipped.clear();
    this.#latest = null;
    this.#keep();
    this.render();
    byId("tour").focus();
  }

  #skip(step) {
    this.#skipped.add(step.id);
    this.#keep();
    this.render();
    byId("tour").focus();
  }

  #keep() {
    const kept = { closed: this.#closed, done: [...this.#done], skipped: [...this.#skipped] };
    localStorage.setItem(KEPT, JSON.stringify(kept));
  }

  render() {
    const card = byId("tour");
    card.hidden = this.#closed || !this.#steps.length;
    byId("tour-button").setAttribute("aria-expanded", String(!card.hidden));
    const hadFocus = card.contains(document.activeElement) && document.activeElement !== card;
    const current = this.#steps.find(({ id }) => !this.#done.has(id) && !this.#skipped.has(id)) ?? null;
    fill(
      card,
      el(
        "div",
        { class: "tour-head" },
        el("h2", {}, t("tourTitle")),
        iconButton("close", t("tourClose"), () => this.toggle()),
      ),
      el("p", { class: "tour-intro" }, t("tourIntro")),
      el(
        "ol",
        {},
        this.#steps.map((step, index) => this.#step(step, index, current)),
      ),
      current ? null : this.#end(),
      // Told to screen readers when a step is done.
      el("p", { class: "unseen", role: "status" }, this.#latest ? inLanguage(this.#latest.notice) : ""),
    );
    if (hadFocus) card.focus({ preventScroll: true });
  }

  #step(step, index, current) {
    const done = this.#done.has(step.id);
    const state = done ? t("tourDone") : this.#skipped.has(step.id) ? t("tourSkipped") : null;
    return el(
      "li",
      {
        class: [done ? "done" : "", step === this.#latest ? "latest" : ""].filter(Boolean).join(" "),
        "aria-current": step === current ? "step" : null,
        data: { step: step.id },
      },
      el("span", { class: "step-mark", "aria-hidden": "true" }, done ? icon("check", 14) : String(index + 1)),
      el(
        "div",
        { class: "tour-step" },
        el("b", {}, inLanguage(step.title), state ? el("span", { class: "unseen" }, ` (${state})`) : null),
        step === current ? this.#current(step) : null,
        done && step === this.#latest
          ? el("p", { class: "tour-notice" }, icon("eye", 16), inLanguage(step.notice))
          : null,
      ),
    );
  }

  #current(step) {
    return [
      el("p", {}, inLanguage(step.press)),
      el(
        "div",
        { class: "tour-buttons" },
        step.go
          ? el(
              "button",
              { type: "button", class: "c-button primary", on: { click: () => this.#go(step.go) } },
              step.go.command
                ? t("tourTry", { name: step.go.command })
                : t("tourBecome", { name: step.go.called }),
            )
          : null,
        el("button", { type: "button", class: "as-link", on: { click: () => this.#skip(step) } }, t("tourSkip")),
      ),
    ];
  }

  #end() {
    return el(
      "div",
      { class: "tour-end" },
      el("p", {}, t("tourEnd")),
      el("button", { type: "button", class: "c-button secondary", on: { click: () => this.#again() } }, t("tourAgain")),
    );
  }
}
