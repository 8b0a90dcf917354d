// A select menu as Discord draws it, used like ARIA's select-only combobox: arrow keys, Home, End, letters, Enter, Escape.
import { el, fill, icon } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { t } from "./texts.js";

const STRING_SELECT = 3;
const ENTITIES = { 5: "user", 6: "role", 7: "mentionable", 8: "channel" };
const TYPING_PAUSE_MS = 700;
const PAGE = 8;
let count = 0;

// The choices of a select component; entities come from the page's own lists.
export function pickerChoices(menu, actions) {
  if (menu.type === STRING_SELECT)
    return menu.options.map(({ label, value, description, emoji, default: chosen }) => ({
      label,
      value,
      detail: description,
      lead: emoji ? () => emojiNode(emoji, true) : null,
      chosen: Boolean(chosen),
    }));
  const defaults = new Set((menu.default_values ?? []).map(({ id }) => id));
  return actions
    .choices(ENTITIES[menu.type], menu.channel_types)
    .map((choice) => ({ ...choice, chosen: defaults.has(choice.value) }));
}

export class Picker {
  #choices;
  #min;
  #max;
  #lenient;
  #placeholder;
  #onChange;
  #list;
  #chosen;
  #before = [];
  #active = 0;
  #typed = "";
  #typedAt = 0;

  // choices: [{value, label, detail?, lead?() -> node, chosen?}]; lenient: a form checks how many are chosen.
  // onChange(values) when the menu closes with another choice.
  constructor({
    choices,
    min,
    max,
    placeholder,
    label,
    disabled,
    customId,
    id,
    describedBy,
    lenient,
    onChange = () => {},
  }) {
    count += 1;
    this.#choices = choices;
    this.#min = min;
    this.#lenient = lenient;
    this.#max = Math.min(max, choices.length || 1);
    this.#placeholder = placeholder;
    this.#onChange = onChange;
    this.#chosen = choices.filter((one) => one.chosen).map((one) => one.value);
    const listId = `picker-${count}`;
    this.#list = el("div", {
      class: "picker-list",
      role: "listbox",
      id: listId,
      popover: "manual",
      "aria-label": label ?? placeholder,
      "aria-multiselectable": this.#many ? "true" : null,
      // The face keeps the focus.
      on: { pointerdown: (event) => event.preventDefault() },
    });
    this.face = el("button", {
      type: "button",
      class: "picker-face",
      role: "combobox",
      id,
      disabled,
      "aria-haspopup": "listbox",
      "aria-expanded": "false",
      "aria-controls": listId,
      "aria-label": label ?? placeholder,
      "aria-describedby": describedBy,
      data: { customId: customId ?? "" },
      on: { keydown: (event) => this.#key(event), click: () => this.#toggle(), blur: () => this.#close() },
    });
    this.node = el("div", { class: "picker" }, this.face, this.#list);
    this.#drawFace();
  }

  get values() {
    return [...this.#chosen];
  }

  get #many() {
    return this.#max > 1;
  }

  get #open() {
    return this.face.getAttribute("aria-expanded") === "true";
  }

  #toggle() {
    if (this.#open) this.#close();
    else if (this.face.closest("[aria-busy=true]") === null) this.#show();
  }

  #show() {
    this.#before = this.values;
    this.#active = Math.max(
      0,
      this.#choices.findIndex(({ value }) => this.#chosen.includes(value)),
    );
    this.face.setAttribute("aria-expanded", "true");
    this.#drawList();
    this.#list.showPopover();
    place(this.#list, this.face);
    this.#mark();
    addEventListener("resize", this.#follow);
    addEventListener("scroll", this.#follow, true);
  }

  #follow = (event) => {
    if (!this.face.isConnected) this.#forget();
    else if (event.target !== this.#list) place(this.#list, this.face);
  };

  #forget() {
    removeEventListener("resize", this.#follow);
    removeEventListener("scroll", this.#follow, true);
  }

  // Like Discord's, the menu tells its choice once, when it closes; too few chosen values are taken back.
  #close() {
    if (!this.#open) return;
    this.face.setAttribute("aria-expanded", "false");
    this.face.removeAttribute("aria-activedescendant");
    if (this.#list.isConnected) this.#list.hidePopover();
    this.#forget();
    if (this.#chosen.length < this.#min && !this.#lenient) this.#chosen = this.#before;
    this.#drawFace();
    if (String(this.#chosen) !== String(this.#before)) this.#onChange(this.values);
  }

  #pick(index) {
    const value = this.#choices[index]?.value;
    if (value === undefined) return;
    if (this.#chosen.includes(value)) {
      if (this.#many || this.#min === 0 || this.#lenient) this.#chosen = this.#chosen.filter((one) => one !== value);
    } else if (!this.#many) this.#chosen = [value];
    else if (this.#chosen.length < this.#max) this.#chosen = this.#inOrder([...this.#chosen, value]);
    if (!this.#many) this.#close();
    else {
      this.#drawFace();
      this.#mark();
    }
  }

  #inOrder(values) {
    return this.#choices.map(({ value }) => value).filter((value) => values.includes(value));
  }

  #drawFace() {
    const chosen = this.#choices.filter(({ value }) => this.#chosen.includes(value));
    const shown = chosen.length
      ? chosen.map((one) => el("span", { class: "picker-chosen" }, one.lead?.(), el("span", {}, one.label)))
      : el("span", { class: "picker-placeholder" }, this.#placeholder);
    fill(this.face, el("span", { class: "picker-value" }, shown), icon("down", 18));
  }

  #drawList() {
    const rule = this.#many
      ? el("div", { class: "picker-rule", role: "presentation" }, t("chooseSome", { min: this.#min, max: this.#max }))
      : null;
    const options = this.#choices.map((choice, index) => this.#option(choice, index));
    fill(
      this.#list,
      rule,
      options.length ? options : el("div", { class: "picker-rule", role: "presentation" }, t("nothingToChoose")),
    );
  }

  #option(choice, index) {
    const node = el(
      "div",
      { class: "picker-option", role: "option", id: `${this.#list.id}-${index}` },
      choice.lead?.() ?? null,
      el(
        "span",
        { class: "picker-texts" },
        el("span", {}, choice.label),
        choice.detail ? el("small", {}, choice.detail) : null,
      ),
      el("span", { class: "picker-mark" }, icon("check", 16)),
    );
    node.addEventListener("click", () => this.#pick(index));
    node.addEventListener("pointermove", () => {
      if (this.#active === index) return;
      this.#active = index;
      this.#mark(false);
    });
    return node;
  }

  #mark(follow = true) {
    const full = this.#many && this.#chosen.length >= this.#max;
    [...this.#list.querySelectorAll("[role=option]")].forEach((node, index) => {
      const chosen = this.#chosen.includes(this.#choices[index].value);
      node.setAttribute("aria-selected", String(chosen));
      node.setAttribute("aria-disabled", String(full && !chosen));
      node.classList.toggle("active", index === this.#active);
      if (index !== this.#active) return;
      this.face.setAttribute("aria-activedescendant", node.id);
      if (follow) node.scrollIntoView({ block: "nearest" });
    });
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (!this.#open) {
      if (!["Enter", " ", "ArrowDown", "ArrowUp", "Home", "End"].includes(event.key) && event.key.length !== 1) return;
      event.preventDefault();
      this.#toggle();
      if (event.key.length === 1 && event.key !== " " && this.#open) this.#type(event.key);
      return;
    }
    if (event.key === "Tab") return this.#close();
    if (!this.#openKey(event.key)) return undefined;
    // Escape belongs to the open menu, not to the dialog around it.
    event.preventDefault();
    return undefined;
  }

  #openKey(key) {
    const last = this.#choices.length - 1;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: PAGE, PageUp: -PAGE, Home: -last, End: last };
    if (key === "Escape") this.#close();
    else if (key === "Enter" || key === " ") this.#pick(this.#active);
    else if (steps[key] !== undefined) {
      this.#active = Math.min(last, Math.max(0, this.#active + steps[key]));
      this.#mark();
    } else if (key.length === 1) this.#type(key);
    else return false;
    return true;
  }

  // Letters that are typed quickly are one word; the same letter again goes on to the next match.
  #type(letter) {
    const now = performance.now();
    this.#typed = now - this.#typedAt < TYPING_PAUSE_MS ? this.#typed + letter.toLowerCase() : letter.toLowerCase();
    this.#typedAt = now;
    const word = /^(.)\1+$/.test(this.#typed) ? this.#typed[0] : this.#typed;
    const from = this.#active + (word.length === 1 ? 1 : 0);
    const order = [...this.#choices.keys()].map((index) => (index + from) % this.#choices.length);
    const found = order.find((index) => this.#choices[index].label.toLowerCase().replace(/^[@#]/, "").startsWith(word));
    if (found === undefined) return;
    this.#active = found;
    this.#mark();
  }
}

// Below the face, or above it where there is more room.
function place(list, face) {
  const box = face.getBoundingClientRect();
  const [below, above] = [innerHeight - box.bottom - 12, box.top - 12];
  const down = below >= Math.min(list.scrollHeight, 320) || below >= above;
  list.style.maxHeight = `${Math.min(320, down ? below : above)}px`;
  list.style.width = `${Math.max(box.width, Math.min(260, innerWidth - 16))}px`;
  list.style.left = `${Math.max(8, Math.min(box.left, innerWidth - list.offsetWidth - 8))}px`;
  list.style.top = down ? `${box.bottom + 4}px` : `${box.top - 4 - list.offsetHeight}px`;
}
