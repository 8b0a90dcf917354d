// A member's state, updated by gateway events. Listeners are called with each change.
import { compareIds } from "./format.js";

export const FLAG = {
  EPHEMERAL: 64,
  LOADING: 128,
  COMPONENTS_V2: 1 << 15,
  SPOILER_ATTACHMENT: 1 << 3,
};
export const CHANNEL = {
  TEXT: 0,
  VOICE: 2,
  CATEGORY: 4,
  NEWS: 5,
  NEWS_THREAD: 10,
  THREAD: 11,
  PRIVATE_THREAD: 12,
  STAGE: 13,
  FORUM: 15,
};
const THREADS = [CHANNEL.NEWS_THREAD, CHANNEL.THREAD, CHANNEL.PRIVATE_THREAD];

export const isThread = (channel) => THREADS.includes(channel.type);
export const isImage = (attachment) =>
  attachment.content_type
    ? attachment.content_type.startsWith("image/")
    : /\.(png|jpe?g|webp|gif|avif|bmp)$/i.test(attachment.filename);

export class State {
  me = null;
  guilds = new Map();
  messages = new Map();
  complete = new Set();
  unread = new Set();
  #listeners = new Set();

  // listener(change): {what: "guilds" | "channels" | "message" | "reset", channelId?, id?, isNew?}
  listen(listener) {
    this.#listeners.add(listener);
  }

  emit(change) {
    for (const listener of this.#listeners) listener(change);
  }

  channel(id) {
    for (const guild of this.guilds.values()) {
      const channel = guild.channels.get(id);
      if (channel) return channel;
    }
    return null;
  }

  user(id) {
    for (const guild of this.guilds.values()) {
      const member = guild.members.get(id);
      if (member) return member.user;
    }
    return this.me?.id === id ? this.me : null;
  }

  // Messages of a channel, oldest first.
  list(channelId) {
    return [...(this.messages.get(channelId)?.values() ?? [])].sort((a, b) => compareIds(a.id, b.id));
  }

  message(channelId, id) {
    return this.messages.get(channelId)?.get(id) ?? null;
  }

  // Adds a page of history, in any order.
  remember(channelId, messages) {
    const known = this.#of(channelId);
    for (const message of messages) known.set(message.id, message);
    this.emit({ what: "reset", channelId });
  }

  // Drops the channel's history, which may have gaps; keeps ephemeral and local messages, which history does not contain.
  forgetHistory(channelId) {
    const known = this.#of(channelId);
    for (const [id, message] of known) if (!message.local && !(message.flags & FLAG.EPHEMERAL)) known.delete(id);
    this.complete.delete(channelId);
  }

  put(message, isNew) {
    this.#of(message.channel_id).set(message.id, message);
    this.emit({ what: "message", channelId: message.channel_id, id: message.id, isNew });
  }

  drop(channelId, id) {
    if (this.messages.get(channelId)?.delete(id)) this.emit({ what: "message", channelId, id, isNew: false });
  }

  #of(channelId) {
    if (!this.messages.has(channelId)) this.messages.set(channelId, new Map());
    return this.messages.get(channelId);
  }

  apply(name, data) {
    EVENTS[name]?.(this, data);
  }
}

function storeGuild(state, raw) {
  if (raw.unavailable || !raw.id) return;
  const source = raw.properties ? { ...raw, ...raw.properties } : raw;
  const channels = [...(source.channels ?? []), ...(source.threads ?? [])];
  state.guilds.set(source.id, {
    id: source.id,
    name: source.name,
    ownerId: source.owner_id,
    roles: new Map((source.roles ?? []).map((role) => [role.id, role])),
    channels: new Map(channels.map((channel) => [channel.id, { ...channel, guild_id: source.id }])),
    members: new Map((source.members ?? []).map((member) => [member.user.id, member])),
  });
}

function ready(state, data) {
  state.me = data.user;
  state.guilds.clear();
  for (const guild of data.guilds ?? []) storeGuild(state, guild);
  for (const channelId of state.messages.keys()) state.forgetHistory(channelId);
  state.emit({ what: "guilds" });
  state.emit({ what: "restart" });
}

function storeChannel(state, channel) {
  const guild = state.guilds.get(channel.guild_id);
  if (!guild) return;
  guild.channels.set(channel.id, { ...guild.channels.get(channel.id), ...channel });
  state.emit({ what: "channels" });
}

function dropChannel(state, channel) {
  const guild = state.guilds.get(channel.guild_id);
  if (!guild?.channels.has(channel.id)) return;
  // Its threads are deleted without an event for each; the channels of a category stay.
  const threads = [...guild.channels.values()].filter((one) => isThread(one) && one.parent_id === channel.id);
  for (const { id } of [channel, ...threads]) {
    guild.channels.delete(id);
    state.messages.delete(id);
    state.unread.delete(id);
  }
  state.emit({ what: "channels" });
}

function arrived(state, message) {
  const known =
    message.nonce &&
    [...(state.messages.get(message.channel_id)?.values() ?? [])].find(
      (one) => one.local && one.nonce === message.nonce,
    );
  if (known) state.messages.get(message.channel_id).delete(known.id);
  if (message.author.id !== state.me?.id) state.unread.add(message.channel_id);
  state.put(message, true);
}

// An update contains the changed fields or the whole message: merge it.
function updated(state, message) {
  const known = state.message(message.channel_id, message.id);
  if (known || message.author) state.put({ ...known, ...message }, false);
}

function reacted(change) {
  return (state, data) => {
    const message = state.message(data.channel_id, data.message_id);
    if (message)
      state.put({ ...message, reactions: change(message.reactions ?? [], data, data.user_id === state.me?.id) }, false);
  };
}

const sameEmoji = (a, b) => (a.id ?? a.name) === (b.id ?? b.name);

function addReaction(reactions, { emoji }, mine) {
  if (!reactions.some((one) => sameEmoji(one.emoji, emoji))) return [...reactions, { emoji, count: 1, me: mine }];
  return reactions.map((one) =>
    sameEmoji(one.emoji, emoji) ? { ...one, count: one.count + 1, me: one.me || mine } : one,
  );
}

function takeReaction(reactions, { emoji }, mine) {
  const lowered = reactions.map((one) =>
    sameEmoji(one.emoji, emoji) ? { ...one, count: one.count - 1, me: one.me && !mine } : one,
  );
  return lowered.filter((one) => one.count > 0);
}

const EVENTS = {
  READY: ready,
  GUILD_CREATE: (state, guild) => {
    storeGuild(state, guild);
    state.emit({ what: "guilds" });
  },
  GUILD_DELETE: (state, { id, unavailable }) => {
    if (!unavailable && state.guilds.delete(id)) state.emit({ what: "guilds" });
  },
  CHANNEL_CREATE: storeChannel,
  CHANNEL_UPDATE: storeChannel,
  CHANNEL_DELETE: dropChannel,
  THREAD_CREATE: storeChannel,
  THREAD_UPDATE: storeChannel,
  THREAD_DELETE: dropChannel,
  MESSAGE_CREATE: arrived,
  MESSAGE_UPDATE: updated,
  MESSAGE_DELETE: (state, { id, channel_id: channelId }) => state.drop(channelId, id),
  MESSAGE_DELETE_BULK: (state, { ids, channel_id: channelId }) => ids.forEach((id) => state.drop(channelId, id)),
  MESSAGE_REACTION_ADD: reacted(addReaction),
  MESSAGE_REACTION_REMOVE: reacted(takeReaction),
  MESSAGE_REACTION_REMOVE_ALL: reacted(() => []),
};
