// Sample scenes that are posted with one click.
import { readJson } from "./api.js";
import { byId, el, fill, icon } from "./dom.js";
import { errorNotice } from "./notices.js";
import { language, t } from "./texts.js";

const FOLDED = "magpie-tray-folded";
const scenes = new WeakSet();

export const isScene = (file) => scenes.has(file);

export class Tray {
  #scenes = [];
  #onPost;
  #folded = localStorage.getItem(FOLDED) === "yes";

  // onPost(file, description): while it is pending, the scene's button is disabled.
  constructor(onPost) {
    this.#onPost = onPost;
  }

  async load() {
    this.#scenes = await readJson("/sandbox/samples");
  }

  render() {
    const toggle = el(
      "button",
      {
        type: "button",
        class: "as-link",
        "aria-expanded": String(!this.#folded),
        "aria-controls": "scenes",
        on: { click: () => this.#fold() },
      },
      icon("down", 16),
      el("b", {}, t("tray")),
      el("span", { class: "tray-hint" }, this.#folded ? t("trayShow") : t("trayHint")),
    );
    fill(byId("tray"), toggle, this.#folded ? null : this.#shelf());
  }

  #shelf() {
    if (!this.#scenes.length) return el("p", { class: "tray-empty" }, t("noTray"));
    return el(
      "div",
      { class: "scenes", id: "scenes", role: "group", "aria-label": t("tray") },
      this.#scenes.map((scene, index) => this.#scene(scene, index)),
    );
  }

  #scene(scene, index) {
    const caption = scene[language()] ?? scene.en;
    const label = t("trayPost", { caption });
    const node = el(
      "button",
      { type: "button", class: "scene", title: caption, "aria-label": label, data: { scene: scene.en } },
      el("img", { src: scene.url, alt: "", draggable: "false" }),
    );
    node.addEventListener("click", () => this.#post(node, scene, index));
    return node;
  }

  // The file name says nothing about the image, so that the bot cannot use it. The caption becomes the alt text.
  async #post(node, scene, index) {
    node.disabled = true;
    try {
      const bytes = await (await fetch(scene.url)).blob();
      const name = `IMG_${String(4001 + index * 37)}.${scene.file.split(".").pop()}`;
      const file = new File([bytes], name, { type: bytes.type });
      scenes.add(file);
      await this.#onPost(file, scene[language()] ?? scene.en);
    } catch (error) {
      errorNotice(error);
    }
    node.disabled = false;
    node.focus({ preventScroll: true });
  }

  #fold() {
    this.#folded = !this.#folded;
    localStorage.setItem(FOLDED, this.#folded ? "yes" : "no");
    this.render();
    byId("tray").querySelector("button").focus();
  }
}
