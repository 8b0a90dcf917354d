// A list of suggestions above an input, used with the arrow keys while the input keeps the focus (ARIA combobox).
import { el, fill } from "./dom.js";

let count = 0;

export class Suggest {
  #input;
  #box;
  #items = [];
  #active = -1;
  #onPick;

  // host: the parent element. onPick(item). An item: {label, detail?, lead?() -> node, value}.
  constructor(input, host, label, onPick) {
    this.#input = input;
    this.#onPick = onPick;
    count += 1;
    this.#box = el("div", {
      class: "suggest",
      role: "listbox",
      id: `suggest-${count}`,
      "aria-label": label,
      hidden: true,
    });
    host.append(this.#box);
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", this.#box.id);
    // A text box of several lines cannot be a combobox.
    if (input.tagName === "INPUT") input.setAttribute("role", "combobox");
    else input.setAttribute("aria-haspopup", "listbox");
    this.#mark();
  }

  get isOpen() {
    return !this.#box.hidden;
  }

  // chosen: the item that Enter takes; with -1, Enter belongs to the input until an arrow key is pressed.
  show(items, heading, { emptyText = "", chosen = 0 } = {}) {
    this.#items = items;
    this.#active = items.length ? chosen : -1;
    this.#box.hidden = !items.length && !emptyText;
    fill(
      this.#box,
      heading ? el("div", { class: "suggest-heading", role: "presentation" }, heading) : null,
      items.length
        ? items.map((item, index) => this.#option(item, index))
        : el("div", { class: "suggest-empty" }, emptyText),
    );
    this.#mark();
  }

  hide() {
    this.#items = [];
    this.#box.hidden = true;
    this.#mark();
  }

  remove() {
    this.#box.remove();
  }

  #option(item, index) {
    const node = el(
      "div",
      { class: "suggest-item", role: "option", id: `${this.#box.id}-${index}` },
      item.lead?.() ?? null,
      el("span", { class: "suggest-label" }, item.label),
      item.detail ? el("span", { class: "suggest-detail" }, item.detail) : null,
    );
    node.addEventListener("pointerdown", (event) => event.preventDefault());
    node.addEventListener("click", () => this.#pick(index));
    node.addEventListener("pointermove", () => {
      this.#active = index;
      this.#mark();
    });
    return node;
  }

  #mark() {
    const options = [...this.#box.querySelectorAll("[role=option]")];
    options.forEach((node, index) => node.setAttribute("aria-selected", String(index === this.#active)));
    if (this.#input.tagName === "INPUT")
      this.#input.setAttribute("aria-expanded", String(this.isOpen && options.length > 0));
    const active = options[this.#active];
    if (active && this.isOpen) this.#input.setAttribute("aria-activedescendant", active.id);
    else this.#input.removeAttribute("aria-activedescendant");
    active?.scrollIntoView({ block: "nearest" });
  }

  #pick(index) {
    const item = this.#items[index];
    this.hide();
    if (item) this.#onPick(item);
  }

  // Returns true if the key was handled.
  key(event) {
    if (!this.isOpen) return false;
    if (event.key === "Escape") this.hide();
    else if (!this.#items.length) return false;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const from = this.#active === -1 && event.key === "ArrowUp" ? 0 : this.#active;
      this.#active = (from + (event.key === "ArrowDown" ? 1 : -1) + this.#items.length) % this.#items.length;
      this.#mark();
    } else if ((event.key === "Enter" || event.key === "Tab") && this.#active >= 0) this.#pick(this.#active);
    else return false;
    event.preventDefault();
    return true;
  }
}
