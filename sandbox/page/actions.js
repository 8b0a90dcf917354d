// The actions of a message: names, reactions, replies, menus, edits, buttons.
import { messageCommands } from "./commands.js";
import { confirm } from "./dialogs.js";
import { el, iconButton } from "./dom.js";
import { hue, jumpUrl } from "./format.js";
import { idsToMentions, mentionsToIds } from "./mentions.js";
import { closeMenu, openMenu } from "./menu.js";
import { errorNotice, notice } from "./notices.js";
import { nameOf } from "./people.js";
import { channelKind, mayModerate, maySend, mayUse } from "./rights.js";
import { FLAG } from "./state.js";
import { localised, t } from "./texts.js";

const QUICK_REACTIONS = ["👍", "❤️", "😂", "🎉", "👀", "🐦"];
const FORWARD = 1;

export class MessageActions {
  #app;
  editing = null;
  #editor = null;
  failures = new Map();

  constructor(app) {
    this.#app = app;
    this.names = {
      user: (id) => {
        const user = app.session.state.user(id);
        return user ? this.displayName(user) : null;
      },
      role: (id) => app.guild()?.roles.get(id)?.name ?? null,
      channel: (id) => app.session.state.channel(id)?.name ?? null,
      jump: (target) => app.jump(target),
    };
  }

  displayName(user) {
    return this.#app.guild()?.members.get(user?.id)?.nick || nameOf(user);
  }

  hue = (user) => hue(user.id);

  // The same actions, with `press` bound to the message.
  forMessage(message) {
    return {
      names: this.names,
      messageId: message.id,
      choices: this.#app.choices,
      press: (one, values) => this.#press(message, one, values),
    };
  }

  async #press(message, component, values) {
    this.failures.delete(message.id);
    const failure = await this.#app.session.interactions.component(message, component, values, this.#app.guildId);
    if (failure) this.failures.set(message.id, failure);
    this.#app.timeline.sync();
  }

  async react(message, emoji, add) {
    await this.#attempt(() => this.#app.session.api.react(message, emoji, add));
  }

  reply(message) {
    this.#app.composer.replyTo(message);
  }

  dismiss(message) {
    this.#app.session.state.drop(message.channel_id, message.id);
  }

  async #attempt(work) {
    try {
      await work();
    } catch (error) {
      errorNotice(error);
    }
  }

  async openMessageMenu(event, message) {
    const at = { type: event.type, clientX: event.clientX, clientY: event.clientY, currentTarget: event.currentTarget };
    const anchor =
      event.type === "contextmenu" && (event.clientX || event.clientY)
        ? new MouseEvent("contextmenu", at)
        : event.currentTarget;
    let apps = [];
    await this.#attempt(async () => {
      apps = messageCommands(await this.#app.session.commands(this.#app.guildId)).filter((one) =>
        mayUse(one, this.#app.channel()),
      );
    });
    openMenu(this.#entries(message, apps, anchor), anchor, t("messageMenu"));
  }

  #entries(message, apps, anchor) {
    if ((message.flags ?? 0) & FLAG.EPHEMERAL)
      return [{ label: t("dismiss"), icon: "close", onPick: () => this.dismiss(message) }];
    const mine = message.author.id === this.#app.session.member.id;
    const entries = [
      {
        row: QUICK_REACTIONS.map((emoji) =>
          el(
            "button",
            {
              type: "button",
              class: "quick",
              "aria-label": t("react", { emoji }),
              on: {
                click: () => {
                  closeMenu();
                  this.react(message, emoji, true);
                },
              },
            },
            emoji,
          ),
        ),
      },
      { label: t("reply"), icon: "reply", onPick: () => this.reply(message) },
      { label: t("forwardTo"), icon: "forward", onPick: () => this.#chooseForward(message, anchor) },
      { label: t("copyLink"), icon: "link", onPick: () => this.#copyLink(message) },
    ];
    if (apps.length) entries.push({ heading: t("apps") }, ...apps.map((command) => this.#appEntry(command, message)));
    if (mine && !message.message_snapshots?.length)
      entries.push({ heading: "" }, { label: t("edit"), icon: "edit", onPick: () => this.#edit(message.id) });
    if (mine || mayModerate(this.#app.channel()))
      entries.push({ label: t("remove"), icon: "trash", danger: true, onPick: () => this.#remove(message) });
    return entries;
  }

  #appEntry(command, message) {
    return {
      label: localised(command, "name"),
      icon: "apps",
      onPick: () => this.#app.session.interactions.messageMenu(command, message, this.#app.guildId),
    };
  }

  #chooseForward(message, anchor) {
    const channels = [...this.#app.guild().channels.values()].filter(maySend);
    const forward = (channel) =>
      this.#attempt(() =>
        this.#app.session.api.send(channel.id, {
          message_reference: { type: FORWARD, channel_id: message.channel_id, message_id: message.id },
        }),
      );
    openMenu(
      [
        { heading: t("forwardTo") },
        ...channels.map((channel) => ({
          label: channel.name,
          icon: channelKind(channel).icon,
          onPick: () => forward(channel),
        })),
      ],
      anchor,
      t("forwardTo"),
    );
  }

  async #copyLink(message) {
    await this.#attempt(() =>
      navigator.clipboard.writeText(jumpUrl(this.#app.guildId, message.channel_id, message.id)),
    );
    notice(t("copied"));
  }

  async #remove(message) {
    if (await confirm(t("removeQuestion"), t("removeExplained"), t("remove")))
      await this.#attempt(() => this.#app.session.api.remove(message));
  }

  #edit(messageId) {
    this.editing = messageId;
    this.#editor = null;
    this.#app.timeline.sync();
  }

  // Created once for each edit, so that redrawing the row does not lose what was typed.
  editor(message) {
    this.#editor ??= this.#makeEditor(message);
    return this.#editor;
  }

  // The editor of a message's text and images; images can be removed.
  #makeEditor(message) {
    let kept = message.attachments ?? [];
    const text = el("textarea", { rows: "2", "aria-label": t("edit") });
    text.value = idsToMentions(message.content, this.#app.people());
    const save = async () => {
      const body = {
        content: mentionsToIds(text.value, this.#app.people()),
        ...(kept.length === (message.attachments ?? []).length ? {} : { attachments: kept.map(({ id }) => ({ id })) }),
      };
      await this.#attempt(() => this.#app.session.api.edit(message, body));
      this.#edit(null);
    };
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#edit(null);
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      save();
    });
    const chips = kept.map((one) => {
      const chip = el(
        "li",
        {},
        one.description || one.filename,
        iconButton("close", t("removePicture", { name: one.description || one.filename }), () => {
          kept = kept.filter(({ id }) => id !== one.id);
          chip.remove();
        }),
      );
      return chip;
    });
    queueMicrotask(() => text.focus());
    return el(
      "div",
      { class: "editor" },
      text,
      chips.length ? el("ul", { class: "kept" }, chips) : null,
      el(
        "div",
        { class: "editor-foot" },
        el("small", {}, t("editHint")),
        el(
          "button",
          { type: "button", class: "c-button secondary", on: { click: () => this.#edit(null) } },
          t("cancel"),
        ),
        el("button", { type: "button", class: "c-button primary", on: { click: save } }, t("save")),
      ),
    );
  }
}
