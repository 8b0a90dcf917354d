// Short notices in the corner, the note about the bundled model, and the introduction for new users.
import { byId, el, fill, icon, iconButton } from "./dom.js";
import { t } from "./texts.js";

const SHOWN_MS = 6000;
const STEPS = [
  ["post", "hintPost"],
  ["find", "hintFind"],
  ["switch", "hintSwitch"],
];
// The default model of a real bot, see the README.
const MODEL_COMMAND = "make run CLIP_MODEL=google/siglip2-base-patch32-256";
const SEEN = "magpie-hint-closed";

export function notice(text, kind = "info") {
  const node = el(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    el("span", {}, text),
    iconButton("close", t("dismiss"), () => node.remove()),
  );
  byId("notices").append(node);
  setTimeout(() => node.remove(), SHOWN_MS);
}

// Discord's error message and the errors of the fields.
export function errorNotice(error) {
  const details = error.details?.length ? `: ${error.details.join(" ")}` : "";
  notice(`${error.message}${details}`, "error");
}

// Says that the bundled model does not know photographs. Stays until it is dismissed.
export class ModelNote {
  #shown = false;

  show(shown = true) {
    this.#shown = shown;
    this.render();
  }

  render() {
    byId("model-note").hidden = !this.#shown;
    fill(
      byId("model-note"),
      icon("image", 20),
      el("p", {}, t("modelNote"), " ", el("code", {}, MODEL_COMMAND)),
      iconButton("close", t("dismiss"), () => this.show(false)),
    );
  }
}

export class Hint {
  #done = new Set();
  #onTry;

  constructor(onTry) {
    this.#onTry = onTry;
    this.#closed = localStorage.getItem(SEEN) === "yes";
  }

  #closed;

  // step: "post" | "find" | "switch"
  tick(step) {
    this.#done.add(step);
    // The introduction closes when every step is done; the question mark opens it again.
    if (this.#done.size === STEPS.length && !this.#closed) this.toggle();
    this.render();
  }

  toggle() {
    this.#closed = !this.#closed;
    localStorage.setItem(SEEN, this.#closed ? "yes" : "no");
    this.render();
  }

  render() {
    const card = byId("hint");
    card.hidden = this.#closed;
    card.classList.toggle("started", this.#done.size > 0);
    fill(
      card,
      el(
        "div",
        { class: "hint-head" },
        el("h2", {}, t("hintTitle")),
        iconButton("close", t("hintClose"), () => this.toggle()),
      ),
      el("p", {}, t("hintIntro")),
      el(
        "ol",
        {},
        STEPS.map(([step, key], index) => this.#step(step, key, index)),
      ),
      this.#done.has("find")
        ? null
        : el("button", { type: "button", class: "c-button primary", on: { click: this.#onTry } }, t("hintTry")),
    );
  }

  #step(step, key, index) {
    const done = this.#done.has(step);
    return el(
      "li",
      { class: done ? "done" : "" },
      el("span", { class: "step-mark" }, done ? icon("check", 14) : String(index + 1)),
      el("span", {}, t(key), done ? el("span", { class: "unseen" }, ` (${t("done")})`) : null),
    );
  }
}
