// Renders a message as a list item: author, time, reply, images, components, reactions and footnotes.
import { components } from "./components.js";
import { el, icon, iconButton } from "./dom.js";
import { embed } from "./embeds.js";
import { emojiNode, emojiKey, isJumbo, stickers } from "./emoji.js";
import { fullTime, messageTime, snowflakeTime } from "./format.js";
import { markdown, plainText } from "./markdown.js";
import { attachments } from "./media.js";
import { avatar } from "./people.js";
import { FLAG } from "./state.js";
import { t } from "./texts.js";

const REPLY = 19;
const FORWARD = 1;
const MESSAGE_MENU = 3;

// actions: see actions.js. look: { compact: without name and avatar, as a follow-up of the message above }.
export function messageRow(message, look, actions) {
  const has = (flag) => Boolean((message.flags ?? 0) & flag);
  const pinned = message.referenced_message !== undefined || message.interaction || message.interaction_metadata;
  const compact = look.compact && !pinned;
  const names = [
    "message",
    compact ? "compact" : "",
    has(FLAG.EPHEMERAL) ? "ephemeral" : "",
    message.local ? "local" : "",
  ];
  const row = el(
    "li",
    { class: names.filter(Boolean).join(" "), id: `message-${message.id}`, data: { messageId: message.id } },
    context(message, actions),
    compact
      ? el(
          "time",
          { class: "side-time", datetime: sent(message).toISOString() },
          messageTime(sent(message)).split(" ").pop(),
        )
      : avatar(message.author, 40),
    el(
      "div",
      { class: "message-body" },
      compact ? null : heading(message, actions),
      body(message, actions),
      reactions(message, actions),
      footnote(message, actions),
    ),
    message.local ? null : toolbar(message, actions),
  );
  if (!message.local) row.addEventListener("contextmenu", (event) => openMenu(event, message, actions));
  return row;
}

const sent = (message) => (message.timestamp ? new Date(message.timestamp) : snowflakeTime(message.id));

function context(message, actions) {
  const used = message.interaction ?? usedCommand(message);
  if (used) return commandLine(used, actions);
  if (message.type === REPLY) return replyLine(message, actions);
  return null;
}

function usedCommand({ interaction_metadata: about }) {
  return about?.name ? { name: about.name, type: about.command_type ?? about.type, user: about.user } : null;
}

function commandLine({ name, user, type, menu }, actions) {
  const shown =
    menu || type === MESSAGE_MENU || (/ /.test(name) && /[A-Z\u4e00-\u9fff]/.test(name)) ? name : `/${name}`;
  const [before, after] = t("usedCommand", { name: "\u0000", command: "\u0001" }).split("\u0001");
  const who = el("b", {}, actions.displayName(user));
  return el(
    "div",
    { class: "context" },
    el("span", { class: "context-bend" }),
    user ? avatar(user, 18) : null,
    before.split("\u0000")[0],
    who,
    before.split("\u0000")[1],
    el("span", { class: "command-name" }, shown),
    after,
  );
}

function replyLine(message, actions) {
  const original = message.referenced_message;
  const bend = el("span", { class: "context-bend" });
  if (!original) return el("div", { class: "context" }, bend, el("i", {}, t("originalDeleted")));
  const jump = () => actions.names.jump({ channelId: original.channel_id, messageId: original.id });
  const preview = plainText(original.content ?? "", actions.names) || t("clickForAttachment");
  return el(
    "div",
    { class: "context" },
    bend,
    avatar(original.author, 18),
    el("b", {}, actions.displayName(original.author)),
    el(
      "button",
      { type: "button", class: "context-text", on: { click: jump } },
      preview,
      original.attachments?.length ? icon("image", 15) : null,
    ),
  );
}

function heading(message, actions) {
  const when = sent(message);
  return el(
    "div",
    { class: "message-head" },
    el("b", { class: "author", style: { "--hue": actions.hue(message.author) } }, actions.displayName(message.author)),
    message.author.bot ? el("span", { class: "badge" }, t("app")) : null,
    el("time", { datetime: when.toISOString(), title: fullTime(when) }, messageTime(when)),
  );
}

function body(message, actions) {
  if (message.local === "waiting") return waiting(t("sendingCommand"));
  if (message.local === "failed") return el("div", { class: "failure", role: "alert" }, t("didNotRespond"));
  if ((message.flags ?? 0) & FLAG.LOADING) return waiting(t("thinking", { name: actions.displayName(message.author) }));
  if (actions.editing === message.id) return actions.editor(message);
  return [
    forwarded(message, actions),
    ...content(message, message.id, actions),
    message.edited_timestamp ? edited(message) : null,
  ];
}

const waiting = (text) =>
  el(
    "div",
    { class: "waiting", role: "status" },
    el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")),
    text,
  );

function edited({ edited_timestamp: when }) {
  return el("span", { class: "edited", title: fullTime(new Date(when)) }, ` (${t("edited")})`);
}

// Shared by messages and the snapshots of forwards.
function content(one, messageId, actions) {
  const isV2 = Boolean((one.flags ?? 0) & FLAG.COMPONENTS_V2);
  return [
    one.content
      ? el("div", { class: isJumbo(one.content) ? "content jumbo" : "content" }, markdown(one.content, actions.names))
      : null,
    stickers(one.sticker_items ?? []),
    isV2 ? null : attachments(one.attachments ?? [], messageId),
    ...(one.embeds ?? []).map((item) => embed(item, actions.names, messageId)),
    one.components?.length
      ? el(
          "div",
          { class: isV2 ? "components" : "components classic" },
          components(one.components, actions.forMessage(one)),
        )
      : null,
  ];
}

function forwarded(message, actions) {
  if (message.message_reference?.type !== FORWARD) return null;
  const snapshots = (message.message_snapshots ?? []).map(({ message: inner }) => content(inner, message.id, actions));
  return el(
    "blockquote",
    { class: "forwarded" },
    el("div", { class: "subtext" }, icon("forward", 15), t("forwarded")),
    snapshots,
  );
}

function reactions(message, actions) {
  if (!message.reactions?.length) return null;
  return el(
    "div",
    { class: "reactions" },
    message.reactions.map(({ emoji, count, me }) =>
      el(
        "button",
        {
          type: "button",
          class: "reaction",
          "aria-pressed": String(Boolean(me)),
          "aria-label": t("reactionCount", { emoji: emoji.name, count }),
          on: { click: () => actions.react(message, emojiKey(emoji), !me) },
        },
        emojiNode(emoji, true),
        String(count),
      ),
    ),
  );
}

function footnote(message, actions) {
  const failure = actions.failures.get(message.id);
  const parts = [failure ? el("div", { class: "failure", role: "alert" }, failure) : null];
  if ((message.flags ?? 0) & FLAG.EPHEMERAL && message.local !== "waiting") {
    const dismiss = el(
      "button",
      { type: "button", class: "as-link", on: { click: () => actions.dismiss(message) } },
      t("dismiss"),
    );
    parts.push(el("div", { class: "only-you" }, icon("eye", 15), t("onlyYou"), " · ", dismiss));
  }
  return parts;
}

function toolbar(message, actions) {
  const isEphemeral = Boolean((message.flags ?? 0) & FLAG.EPHEMERAL);
  const more = iconButton("dots", t("more"), (event) => openMenu(event, message, actions), {
    class: "icon-button more",
    "aria-haspopup": "menu",
  });
  return el(
    "div",
    { class: "toolbar", role: "group", "aria-label": t("messageMenu") },
    isEphemeral ? null : iconButton("reply", t("reply"), () => actions.reply(message)),
    isEphemeral ? null : iconButton("smile", t("react", { emoji: "👍" }), () => actions.react(message, "👍", true)),
    more,
  );
}

function openMenu(event, message, actions) {
  if (event.target.closest("a, input, textarea") && event.type === "contextmenu") return;
  event.preventDefault();
  actions.openMessageMenu(event, message);
}
