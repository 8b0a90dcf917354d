// Renders the page around the messages: members, guilds, channels, header.
import { byId, el, fill, icon } from "./dom.js";
import { compareIds, hue } from "./format.js";
import { avatar, nameOf } from "./people.js";
import { channelKind } from "./rights.js";
import { CHANNEL, isThread } from "./state.js";
import { language, t } from "./texts.js";

export function renderMembers(app) {
  const buttons = app.world.members.map((member) => {
    const session = app.sessions.get(member.id);
    const chosen = app.session === session;
    const name = nameOf(member);
    const props = {
      type: "button",
      class: "member",
      "aria-pressed": String(chosen),
      title: [t("switchMember", { name }), member.note, seen(app, session)].filter(Boolean).join("\n"),
      data: { member: member.username },
      on: { click: () => app.be(member.id) },
    };
    return el(
      "button",
      props,
      avatar(member, 30),
      el(
        "span",
        { class: "member-text" },
        el("b", {}, name),
        el("small", {}, chosen ? (member.note ?? "") : firstWords(member.note)),
      ),
    );
  });
  fill(byId("members"), el("span", { class: "members-label", id: "members-label" }, t("youAre")), buttons);
}

// Only the selected member shows the whole note; the others have it in the title.
const firstWords = (note) => (note ?? "").split(/[;:]/)[0];

// How many of the guild's channels the member sees. Hidden channels are counted, never named.
function seen(app, session) {
  const all = app.world.guilds
    .find((guild) => guild.id === app.guildId)
    ?.channels.filter(({ type }) => type !== CHANNEL.CATEGORY).length;
  const own = session?.state.guilds.get(app.guildId)?.channels;
  if (!all || !own) return null;
  return t("seesChannels", { seen: [...own.values()].filter(({ type }) => type !== CHANNEL.CATEGORY).length, all });
}

export function renderGuilds(app) {
  const guilds = [...(app.session?.state.guilds.values() ?? [])];
  fill(
    byId("guilds"),
    guilds.map((guild) => {
      const initials = guild.name
        .split(/\s+/)
        .map((word) => [...word][0])
        .slice(0, 2)
        .join("");
      return el(
        "button",
        {
          type: "button",
          class: "guild",
          title: guild.name,
          "aria-label": guild.name,
          "aria-current": guild.id === app.guildId ? "true" : null,
          style: { "--hue": hue(guild.id) },
          on: { click: () => app.go(guild.id) },
        },
        initials,
      );
    }),
  );
}

export function renderChannels(app) {
  const guild = app.guild();
  const tree = channelTree(guild ? [...guild.channels.values()] : []);
  byId("guild-name").textContent = guild?.name ?? "";
  byId("visible-count").textContent = seen(app, app.session) ?? "";
  fill(
    byId("channels"),
    tree.length
      ? tree.map((entry) =>
          entry.category ? el("li", { class: "category" }, entry.category.name) : channelItem(app, entry),
        )
      : el("li", { class: "category" }, t("noChannels")),
  );
}

// Channels in sidebar order: those without a category first; threads below their channel.
export function channelTree(channels) {
  const order = (a, b) => (a.position ?? 0) - (b.position ?? 0) || compareIds(a.id, b.id);
  const under = (id) => channels.filter((one) => (one.parent_id ?? null) === id).sort(order);
  const withThreads = (channel) => [
    { channel, depth: 0 },
    ...under(channel.id)
      .filter(isThread)
      .map((thread) => ({ channel: thread, depth: 1 })),
  ];
  const known = new Set(channels.map(({ id }) => id));
  const loose = channels.filter((one) => one.type !== CHANNEL.CATEGORY && !known.has(one.parent_id)).sort(order);
  const categories = channels.filter((one) => one.type === CHANNEL.CATEGORY).sort(order);
  return [
    ...loose.flatMap(withThreads),
    ...categories.flatMap((category) => [{ category }, ...under(category.id).flatMap(withThreads)]),
  ];
}

function channelItem(app, { channel, depth }) {
  const kind = channelKind(channel);
  const unread = app.session.state.unread.has(channel.id);
  const spoken = `${channel.name}, ${t(kind.text)}${unread ? `, ${t("unread")}` : ""}`;
  const props = {
    type: "button",
    class: "channel",
    "aria-label": spoken,
    title: t(kind.text),
    "aria-current": channel.id === app.channelId ? "page" : null,
    data: { depth, unread, channel: channel.name },
    on: { click: () => app.go(app.guildId, channel.id) },
  };
  return el("li", {}, el("button", props, icon(kind.icon, 18), el("span", {}, channel.name)));
}

export function renderHeader(app) {
  const channel = app.channel();
  const kind = channel ? channelKind(channel) : null;
  fill(
    byId("channel-title"),
    kind ? icon(kind.icon, 20) : null,
    el("h1", {}, channel?.name ?? ""),
    kind ? el("span", { class: "kind" }, t(kind.text)) : null,
    channel?.topic ? el("span", { class: "topic" }, channel.topic) : null,
  );
  document.title = channel ? `${channel.name} · ${t("pageTitle")}` : t("pageTitle");
}

const STATUS = { connecting: "connecting", lost: "reconnecting", refused: "unreachable" };

export function renderStatus(app) {
  const status = app.session?.status ?? "connecting";
  const online = status === "online";
  const node = byId("bot-status");
  const text = online ? t(app.botReady ? "botOnline" : "botOffline") : t(STATUS[status]);
  if (node.textContent !== text) node.textContent = text;
  node.dataset.state = online ? (app.botReady ? "online" : "waiting") : "lost";
}

// The texts in index.html.
export function renderFixedTexts() {
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.label);
  }
  for (const node of document.querySelectorAll("[data-language]"))
    node.setAttribute("aria-pressed", String(node.dataset.language === language()));
}
