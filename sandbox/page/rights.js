// The selected member's permissions in a channel. The server decides; this only hides what it would refuse.
import { CHANNEL, isThread } from "./state.js";

const BIT = { SEND: 11n, MANAGE_MESSAGES: 13n, VIEW: 10n, SEND_IN_THREADS: 38n, CONNECT: 20n };
const WRITABLE = [
  CHANNEL.TEXT,
  CHANNEL.VOICE,
  CHANNEL.NEWS,
  CHANNEL.NEWS_THREAD,
  CHANNEL.THREAD,
  CHANNEL.PRIVATE_THREAD,
  CHANNEL.STAGE,
];
const VOICE = [CHANNEL.VOICE, CHANNEL.STAGE];

const has = (channel, bit) => Boolean((BigInt(channel?.permissions ?? 0) >> bit) & 1n);

export const maySend = (channel) =>
  Boolean(channel) &&
  WRITABLE.includes(channel.type) &&
  has(channel, isThread(channel) ? BIT.SEND_IN_THREADS : BIT.SEND);

export const mayModerate = (channel) => has(channel, BIT.MANAGE_MESSAGES);

export const mayRead = (channel) => Boolean(channel) && (!VOICE.includes(channel.type) || has(channel, BIT.CONNECT));

// Discord hides a command from members without its default permissions; "0" means administrators only.
export function mayUse(command, channel) {
  const wanted = command.default_member_permissions;
  if (wanted === null || wanted === undefined) return true;
  const granted = BigInt(channel?.permissions ?? 0);
  return wanted === "0" ? Boolean((granted >> 3n) & 1n) : (granted & BigInt(wanted)) === BigInt(wanted);
}

function hiddenFromEveryone(channel) {
  const everyone = (channel.permission_overwrites ?? []).find((one) => one.id === channel.guild_id);
  return Boolean(everyone && (BigInt(everyone.deny) >> BIT.VIEW) & 1n);
}

// The icon and the text key for the type of a channel.
export function channelKind(channel) {
  if (channel.type === CHANNEL.PRIVATE_THREAD) return { icon: "threadLock", text: "kindPrivateThread" };
  if (isThread(channel)) return { icon: "thread", text: "kindThread" };
  if (channel.nsfw) return { icon: "adult", text: "kindAdult" };
  if (VOICE.includes(channel.type)) return { icon: "voice", text: "kindVoice" };
  return hiddenFromEveryone(channel) ? { icon: "lock", text: "kindPrivate" } : { icon: "hash", text: "kindText" };
}
