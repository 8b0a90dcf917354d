// An emoji of a button, an option or a reaction.
import { el } from "./dom.js";

// emoji: {name, id?}; beside: a text says the same, so that a screen reader need not.
export function emojiNode({ name, id }, beside) {
  return el("span", { class: "emoji", "aria-hidden": beside ? "true" : null }, id ? `:${name}:` : (name ?? ""));
}
