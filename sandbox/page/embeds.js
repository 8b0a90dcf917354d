// Renders embeds of bots and of link previews.
import { el } from "./dom.js";
import { dateOf, fullTime, localUrl } from "./format.js";
import { link, markdown } from "./markdown.js";
import { gallery, thumbnail } from "./media.js";

export function embed(one, names, messageId) {
  const accent =
    one.color === undefined || one.color === null
      ? {}
      : { "--accent-line": `#${one.color.toString(16).padStart(6, "0")}` };
  return el(
    "article",
    { class: "embed", style: accent },
    el("div", { class: "embed-main" }, heading(one, names), fields(one, names), foot(one)),
    side(one, messageId),
    large(one, messageId),
  );
}

function heading(one, names) {
  return [
    one.provider?.name ? el("div", { class: "embed-small" }, one.provider.name) : null,
    one.author?.name
      ? el(
          "div",
          { class: "embed-author" },
          one.author.url ? link(one.author.url, [one.author.name], names) : one.author.name,
        )
      : null,
    one.title ? el("div", { class: "embed-title" }, one.url ? link(one.url, [one.title], names) : one.title) : null,
    one.description ? el("div", { class: "embed-text" }, markdown(one.description, names)) : null,
  ];
}

function fields(one, names) {
  if (!one.fields?.length) return null;
  const field = ({ name, value, inline }) =>
    el("div", { class: inline ? "field inline" : "field" }, el("dt", {}, name), el("dd", {}, markdown(value, names)));
  return el("dl", { class: "embed-fields" }, one.fields.map(field));
}

function foot(one) {
  const when = one.timestamp ? dateOf(one.timestamp) : null;
  const parts = [one.footer?.text, when ? fullTime(when) : null].filter(Boolean);
  return parts.length ? el("div", { class: "embed-small" }, parts.join(" · ")) : null;
}

const shown = (media) => (media?.url && (localUrl(media.proxy_url) || localUrl(media.url)) ? media : null);

function side(one, messageId) {
  const media = shown(one.thumbnail);
  return media && !one.image ? thumbnail({ media, description: one.title ?? "" }, messageId) : null;
}

function large(one, messageId) {
  const media = shown(one.image);
  return media
    ? gallery(
        [{ url: media.proxy_url || media.url, alt: one.title ?? "", width: media.width, height: media.height }],
        messageId,
      )
    : null;
}
