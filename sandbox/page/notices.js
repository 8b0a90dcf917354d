// Short notices above the messages, and the note about the bundled model.
import { byId, el, fill, icon, iconButton } from "./dom.js";
import { t } from "./texts.js";

const SHOWN_MS = 6000;
// The default model of a real bot, see the README.
const MODEL_COMMAND = "make run CLIP_MODEL=google/siglip2-base-patch32-256";

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
