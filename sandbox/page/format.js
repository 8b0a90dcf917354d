// Formats times, sizes, ids and URLs. Pure functions apart from the current time.
import { language, t } from "./texts.js";

const DISCORD_EPOCH_MS = 1420070400000n;

export const snowflakeTime = (id) => new Date(Number((BigInt(id) >> 22n) + DISCORD_EPOCH_MS));

export const snowflakeNow = () => String((BigInt(Date.now()) - DISCORD_EPOCH_MS) << 22n);

// Ids are decimal strings that do not fit into a double: compare the length, then the digits.
export const compareIds = (a, b) => a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);

const intl = (options) => new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en-GB", options);

export const clockTime = (date) => intl({ hour: "2-digit", minute: "2-digit" }).format(date);

export const fullTime = (date) => intl({ dateStyle: "full", timeStyle: "short" }).format(date);

// A date, or null for an invalid one: anyone can write <t:99999999999999>.
export function dateOf(value) {
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? null : date;
}

export const dayName = (date) => intl({ dateStyle: "long" }).format(date);

export const sameDay = (a, b) => a.toDateString() === b.toDateString();

export function messageTime(date) {
  const today = new Date();
  if (sameDay(date, today)) return t("todayAt", { time: clockTime(date) });
  return intl({ dateStyle: "short", timeStyle: "short" }).format(date);
}

// The styles of <t:seconds:style> (developer docs, reference, "Timestamp styles").
const STAMP_STYLES = {
  t: { timeStyle: "short" },
  T: { timeStyle: "medium" },
  d: { dateStyle: "short" },
  D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" },
  F: { dateStyle: "full", timeStyle: "short" },
};

export function timestamp(seconds, style) {
  const date = new Date(seconds * 1000);
  return style === "R" ? relativeTime(date) : intl(STAMP_STYLES[style] ?? STAMP_STYLES.f).format(date);
}

const UNITS = [
  ["year", 31536000],
  ["month", 2592000],
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];

function relativeTime(date) {
  const seconds = Math.round((date.getTime() - Date.now()) / 1000);
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  const words = new Intl.RelativeTimeFormat(language() === "zh" ? "zh-CN" : "en-GB", { numeric: "auto" });
  return words.format(Math.round(seconds / size), unit);
}

export function fileSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

// URLs of the sandbox's files, on the origin of this page (localhost and 127.0.0.1 are different origins).
// Any other URL gives null: the page contacts no other server.
export function localUrl(address) {
  if (!address) return null;
  const url = new URL(address, location.href);
  const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url.origin !== location.origin && !loopback) return null;
  return location.origin + url.pathname + url.search;
}

// Only web URLs become links: applications can send any URL, and javascript: would run here.
export const isWebAddress = (address) => /^https?:\/\//i.test(address ?? "");

// The target of a link to a message or channel; null for other links.
export function jumpTarget(address) {
  const match = /^https?:\/\/[^/]+\/channels\/(\d+)\/(\d+)(?:\/(\d+))?\/?$/.exec(address);
  return match && { guildId: match[1], channelId: match[2], messageId: match[3] ?? null };
}

export const jumpUrl = (guildId, channelId, messageId) =>
  `https://discord.com/channels/${guildId}/${channelId}/${messageId}`;

// A fixed hue for each id; consecutive ids get distant hues (the golden angle).
export const hue = (id) => Math.round((Number(BigInt(id) % 3600n) * 137.508) % 360);
