// Emoji of texts, buttons, options and reactions; stickers. A guild's own ones are images.
import { el } from "./dom.js";

const LOTTIE = 3;
const GIF = 4;

// emoji: {name, id?}; beside: a text says the same, so that a screen reader need not.
export function emojiNode({ name, id }, beside) {
  if (!id) return el("span", { class: "emoji", "aria-hidden": beside ? "true" : null }, name ?? "");
  const label = `:${name}:`;
  return el("img", { class: "emoji own", src: `/emojis/${id}.png`, alt: beside ? "" : label, title: label });
}

// How a reaction is named in a request.
export const emojiKey = ({ name, id }) => (id ? `${name}:${id}` : name);

// Discord draws a message of nothing but emoji larger.
export const isJumbo = (content) =>
  /^(?:\s|<a?:\w+:\d+>|\p{Emoji_Modifier}|\p{Extended_Pictographic}|\p{Regional_Indicator}|\u200d|\ufe0f)+$/u.test(
    content,
  );

// Lottie stickers are animations that only Discord's own clients draw.
export function stickers(items) {
  return items.map(({ id, name, format_type: format }) =>
    format === LOTTIE
      ? el("div", { class: "sticker lottie" }, name)
      : el("img", {
          class: "sticker",
          src: `/stickers/${id}.${format === GIF ? "gif" : "png"}`,
          alt: name,
          title: name,
        }),
  );
}
