// A menu at the pointer or at a button: arrow keys, Escape, and focus restored on close.
import { el, icon } from "./dom.js";

let open = null;

// entries: [{label, icon?, danger?, detail?, onPick}] or {heading} or {row: [nodes]}; at: a pointer event or an element.
export function openMenu(entries, at, label) {
  closeMenu();
  const from = at instanceof Event ? at.currentTarget : at;
  const items = entries.map((entry) => menuEntry(entry));
  const node = el(
    "div",
    { class: "menu", role: "menu", "aria-label": label, tabindex: "-1", on: { keydown: moveFocus } },
    items,
  );
  document.body.append(node);
  place(node, at);
  open = { node, from: from?.focus ? from : null };
  document.addEventListener("pointerdown", outside, true);
  window.addEventListener("resize", closeMenu);
  focusables(node)[0]?.focus({ preventScroll: true });
}

function menuEntry(entry) {
  if (entry.heading) return el("div", { class: "menu-heading", role: "presentation" }, entry.heading);
  if (entry.row) return el("div", { class: "menu-row", role: "group" }, entry.row);
  const pick = () => {
    closeMenu();
    entry.onPick();
  };
  return el(
    "button",
    { type: "button", role: "menuitem", class: entry.danger ? "menu-item danger" : "menu-item", on: { click: pick } },
    entry.icon ? icon(entry.icon, 18) : null,
    el("span", {}, entry.label),
    entry.detail ? el("small", {}, entry.detail) : null,
  );
}

function place(node, at) {
  const pointed = at instanceof MouseEvent && (at.clientX || at.clientY) && at.type === "contextmenu";
  const target = at instanceof Event ? (pointed ? null : at.currentTarget) : at;
  const box = target?.getBoundingClientRect();
  const [x, y] = box ? [box.right - node.offsetWidth, box.bottom + 4] : [at.clientX, at.clientY];
  node.style.left = `${Math.max(8, Math.min(x, innerWidth - node.offsetWidth - 8))}px`;
  node.style.top = `${Math.max(8, Math.min(y, innerHeight - node.offsetHeight - 8))}px`;
}

export function closeMenu() {
  if (!open) return;
  const { node, from } = open;
  open = null;
  document.removeEventListener("pointerdown", outside, true);
  window.removeEventListener("resize", closeMenu);
  const hadFocus = node.contains(document.activeElement);
  node.remove();
  if (hadFocus && from?.isConnected) from.focus({ preventScroll: true });
}

function outside(event) {
  if (open && !open.node.contains(event.target)) closeMenu();
}

const focusables = (node) => [...node.querySelectorAll("button:not(:disabled)")];

const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

function moveFocus(event) {
  if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    event.stopPropagation();
    closeMenu();
    return;
  }
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  const all = focusables(open.node);
  all[(all.indexOf(document.activeElement) + step + all.length) % all.length]?.focus();
}
