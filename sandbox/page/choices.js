// The members, roles and channels of a guild as a menu offers them: {value, label, detail?, lead() -> node}.
import { el, icon } from "./dom.js";
import { avatar, nameOf } from "./people.js";
import { channelKind } from "./rights.js";
import { channelTree } from "./shell.js";
import { CHANNEL, isThread } from "./state.js";

const LEAD_PX = 20;

const MAKERS = {
  user: (guild) => [...guild.members.values()].map(personChoice),
  role: (guild) =>
    [...guild.roles.values()]
      .filter(({ id }) => id !== guild.id)
      .map(({ id, name }) => ({
        value: id,
        label: `@${name}`,
        lead: () => el("span", { class: "role-mark", "aria-hidden": "true" }, "@"),
      })),
  mentionable: (guild) => [...MAKERS.user(guild), ...MAKERS.role(guild)],
  channel: (guild, types) =>
    channelTree([...guild.channels.values()])
      .map((entry) => entry.channel ?? entry.category)
      .filter(({ type }) => (types?.length ? types.includes(type) : type !== CHANNEL.CATEGORY))
      .map((channel) => channelChoice(channel, guild.channels.get(channel.parent_id))),
};

// kind: "user" | "role" | "mentionable" | "channel"; channelTypes: Discord's numbers, none for all.
export const choicesOf = (kind, guild, channelTypes) => (guild ? MAKERS[kind](guild, channelTypes) : []);

export function personChoice({ nick, user }) {
  const label = nick || nameOf(user);
  return {
    value: user.id,
    label,
    detail: user.username === label ? null : user.username,
    lead: () => avatar(user, LEAD_PX),
  };
}

function channelChoice(channel, parent) {
  const detail = parent && isThread(channel) ? `#${parent.name}` : (parent?.name ?? null);
  return { value: channel.id, label: channel.name, detail, lead: () => icon(channelKind(channel).icon, LEAD_PX) };
}
