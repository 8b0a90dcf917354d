// Renders the common part of Discord's markdown as DOM nodes. Text stays text.
import { el } from "./dom.js";
import { emojiNode } from "./emoji.js";
import { dateOf, fullTime, isWebAddress, jumpTarget, timestamp } from "./format.js";
import { t } from "./texts.js";

const INLINE = [
  ["escape", /^\\([^0-9A-Za-z\s])/],
  ["code", /^(`+)([\s\S]*?[^`])\1(?!`)/],
  ["bold", /^\*\*([\s\S]+?)\*\*(?!\*)/],
  ["underline", /^__([\s\S]+?)__(?!_)/],
  ["strike", /^~~([\s\S]+?)~~/],
  ["spoiler", /^\|\|([\s\S]+?)\|\|/],
  ["italic", /^\*(?!\s)([^*\n]+?)\*/],
  ["italic", /^_([^_\n]+?)_(?!\w)/],
  ["masked", /^\[([^\]\n]+)\]\(<?(https?:\/\/[^\s)>]+)>?\)/],
  ["link", /^<(https?:\/\/[^\s>]+)>/],
  ["link", /^(https?:\/\/[^\s<>]*[^\s<>.,:;!?"')\]])/],
  ["user", /^<@!?(\d+)>/],
  ["role", /^<@&(\d+)>/],
  ["channel", /^<#(\d+)>/],
  ["time", /^<t:(-?\d+)(?::([tTdDfFR]))?>/],
  ["emoji", /^<a?:(\w+):(\d+)>/],
  ["command", /^<\/([^:>]+):\d+>/],
];
const SPECIAL = /[\\*_~`|[<]|https?:\/\//g;

const MAKERS = {
  escape: ([, character]) => character,
  code: ([, , text]) => el("code", {}, text.trim()),
  bold: ([, text], names) => el("strong", {}, inline(text, names)),
  underline: ([, text], names) => el("u", {}, inline(text, names)),
  strike: ([, text], names) => el("s", {}, inline(text, names)),
  italic: ([, text], names) => el("em", {}, inline(text, names)),
  spoiler: ([, text], names) => spoiler(inline(text, names)),
  masked: ([, text, address], names) => link(address, inline(text, { ...names, plain: true }), names),
  link: ([, address], names) => link(address, [linkText(address, names)], names),
  user: ([, id], names) => el("span", { class: "mention" }, `@${names.user(id) ?? t("unknownUser")}`),
  role: ([, id], names) => el("span", { class: "mention" }, `@${names.role(id) ?? id}`),
  channel: ([, id], names) => channelMention(id, names),
  time: ([raw, seconds, style]) => stamp(Number(seconds), style, raw),
  emoji: ([, name, id]) => emojiNode({ name, id }),
  command: ([, name]) => el("span", { class: "mention" }, `/${name}`),
};

function inline(text, names) {
  const nodes = [];
  let rest = text;
  while (rest) {
    const found = firstMatch(rest);
    if (found) {
      nodes.push(MAKERS[found.kind](found.match, names));
      rest = rest.slice(found.match[0].length);
    } else {
      SPECIAL.lastIndex = 1;
      const next = SPECIAL.exec(rest)?.index ?? rest.length;
      nodes.push(rest.slice(0, next));
      rest = rest.slice(next);
    }
  }
  return nodes;
}

function firstMatch(text) {
  for (const [kind, pattern] of INLINE) {
    const match = pattern.exec(text);
    if (match) return { kind, match };
  }
  return null;
}

function spoiler(children) {
  const show = (event) => {
    if (!event.key || event.key === "Enter" || event.key === " ") event.currentTarget.classList.add("shown");
  };
  return el(
    "span",
    { class: "spoiler-text", role: "button", tabindex: "0", title: t("reveal"), on: { click: show, keydown: show } },
    children,
  );
}

// Links to messages jump within the page, others open a new tab. Other URL schemes are shown as text.
export function link(address, children, names) {
  if (!isWebAddress(address)) return children;
  const target = jumpTarget(address);
  const props = { href: address, class: "link" };
  if (target)
    props.on = {
      click: (event) => {
        event.preventDefault();
        names.jump(target);
      },
    };
  else Object.assign(props, { target: "_blank", rel: "noopener noreferrer" });
  return el("a", props, children);
}

function linkText(address, names) {
  const target = jumpTarget(address);
  if (!target) return address;
  return `#${names.channel(target.channelId) ?? t("unknownChannel")}${target.messageId ? " › 💬" : ""}`;
}

function channelMention(id, names) {
  const name = names.channel(id);
  if (name === null || name === undefined) return el("span", { class: "mention" }, `#${t("unknownChannel")}`);
  const jump = () => names.jump({ channelId: id, messageId: null });
  return el("button", { type: "button", class: "mention", on: { click: jump } }, `#${name}`);
}

// A timestamp that is not a valid date is shown as typed.
function stamp(seconds, style, raw) {
  const date = dateOf(seconds * 1000);
  if (!date) return raw;
  const data = style === "R" ? { since: seconds } : {};
  return el(
    "time",
    { datetime: date.toISOString(), title: fullTime(date), class: "stamp", data },
    timestamp(seconds, style),
  );
}

// Relative times are updated regularly.
export function freshenTimes(root) {
  for (const node of root.querySelectorAll("time[data-since]"))
    node.textContent = timestamp(Number(node.dataset.since), "R");
}

// names: { user(id), role(id), channel(id) -> text or null, jump(target) }
export function markdown(text, names) {
  const parts = text.split(/```(?:\w*\n)?([\s\S]*?)```/);
  return parts.flatMap((part, index) =>
    index % 2 ? el("pre", {}, el("code", {}, part.replace(/\n$/, ""))) : blocks(part, names),
  );
}

const BLOCKS = [
  [/^### (.+)$/, "h3", ""],
  [/^## (.+)$/, "h2", ""],
  [/^# (.+)$/, "h1", ""],
  [/^-# (.+)$/, "small", "subtext"],
];

function blocks(text, names) {
  const nodes = [];
  let open = null;
  for (const line of text.replace(/^\n|\n$/g, "").split("\n")) {
    const [kind, node] = block(line, names);
    if (kind === "text" && open?.kind === "text") open.node.append("\n", ...node);
    else if (open && kind === open.kind && kind !== "block") open.node.append(node);
    else {
      open = { kind, node: container(kind, node) };
      nodes.push(open.node);
    }
  }
  return nodes.filter((node) => node.childNodes.length);
}

function block(line, names) {
  for (const [pattern, tag, name] of BLOCKS) {
    const match = pattern.exec(line);
    // A message's headings must not become part of the page's outline.
    if (match) return ["block", el("div", { class: `md-${tag} ${name}`.trim() }, inline(match[1], names))];
  }
  const item = /^\s*[-*] (.+)$/.exec(line);
  if (item) return ["list", el("li", {}, inline(item[1], names))];
  const quote = /^> (.*)$/.exec(line);
  if (quote) return ["quote", el("div", {}, inline(quote[1], names))];
  return ["text", inline(line, names)];
}

function container(kind, node) {
  if (kind === "list") return el("ul", {}, node);
  if (kind === "quote") return el("blockquote", {}, node);
  return kind === "block" ? node : el("div", { class: "text" }, node);
}

function mentionText(kind, id, names) {
  if (kind === "#") return `#${names.channel(id) ?? t("unknownChannel")}`;
  return `@${kind === "@&" ? (names.role(id) ?? id) : (names.user(id) ?? t("unknownUser"))}`;
}

// Plain text, for the preview of a reply.
export const plainText = (text, names) =>
  text
    .replace(/<(@!?|@&|#)(\d+)>/g, (whole, kind, id) => mentionText(kind, id, names) ?? whole)
    .replace(/<a?(:\w+:)\d+>/g, "$1")
    .replace(/[*_~`|]+/g, "")
    .replace(/\s+/g, " ")
    .trim();
