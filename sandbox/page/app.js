// The application: the members' sessions, the open channel, and what is redrawn on each change.
import { readJson } from "./api.js";
import { choicesOf } from "./choices.js";
import { slashEntries } from "./commands.js";
import { Composer, pastedFiles } from "./composer.js";
import { MessageActions } from "./actions.js";
import { byId, el, fill, icon } from "./dom.js";
import { closeMenu } from "./menu.js";
import { openModal } from "./modal.js";
import { errorNotice, ModelNote, notice } from "./notices.js";
import { channelKind, mayRead, maySend } from "./rights.js";
import { Session } from "./session.js";
import {
  channelTree,
  renderChannels,
  renderFixedTexts,
  renderGuilds,
  renderHeader,
  renderMembers,
  renderStatus,
} from "./shell.js";
import { CHANNEL } from "./state.js";
import { inLanguage, language, setLanguage, t } from "./texts.js";
import { Timeline } from "./timeline.js";
import { Tour } from "./tour.js";
import { isScene, Tray } from "./tray.js";

const LANGUAGE = "magpie-language";
const BOT_CHECK_MS = 1500;
const BOT_RECHECK_MS = 10_000;
const FIRST_CHECK_MS = 200;

class App {
  world = null;
  sessions = new Map();
  session = null;
  guildId = null;
  channelId = null;
  botReady = false;
  #last = new Map();

  constructor() {
    this.actions = new MessageActions(this);
    this.timeline = new Timeline(this, this.actions);
    this.composer = new Composer(this);
    this.tour = new Tour((go) => this.#goTour(go));
    this.modelNote = new ModelNote();
    this.tray = new Tray((file, description) => this.composer.postNow(file, description));
  }

  async start() {
    setLanguage(localStorage.getItem(LANGUAGE) ?? (navigator.language.startsWith("zh") ? "zh" : "en"));
    this.#bindPage();
    this.#redrawAll();
    this.world = await readJson("/sandbox/world");
    for (const member of this.world.members) this.sessions.set(member.id, new Session(member, this.#listeners()));
    const [memberId, guildId, channelId] = location.hash.replace(/^#\/?/, "").split("/");
    const first = this.sessions.get(memberId) ?? this.sessions.values().next().value;
    this.session = first;
    [this.guildId, this.channelId] = [guildId || null, channelId || null];
    for (const session of this.sessions.values()) session.open();
    this.#redrawAll();
    this.#watchBot();
    this.tray.load().then(() => this.tray.render(), errorNotice);
  }

  #listeners() {
    return {
      onChange: (session, change) => this.#changed(session, change),
      onStatus: (session) => {
        if (session === this.session) this.#redrawStatus();
      },
      onModal: (session, modal) => {
        if (session === this.session) this.#showModal(modal);
      },
      onAnswer: (event) => this.tour.tell(event),
      onError: errorNotice,
    };
  }

  #showModal(modal) {
    const { interactions } = this.session;
    openModal(modal, {
      names: this.actions.names,
      choices: this.choices,
      upload: (files) => this.upload(modal.channel_id, files),
      submit: (components, attachments) => interactions.modal(modal, components, attachments),
    });
  }

  // ---- the open guild and channel
  guild = () => this.session?.state.guilds.get(this.guildId) ?? null;

  channel = () => this.guild()?.channels.get(this.channelId) ?? null;

  place = () => ({ guildId: this.guildId, channelId: this.channelId });

  channelIcon = () => (this.channel() ? channelKind(this.channel()).icon : "hash");

  people = () => [...(this.guild()?.members.values() ?? [])];

  choices = (kind, channelTypes) => choicesOf(kind, this.guild(), channelTypes);

  be(memberId) {
    const session = this.sessions.get(memberId);
    if (session === this.session) return undefined;
    this.#last.set(this.session.member.id, [this.guildId, this.channelId]);
    this.session = session;
    const wanted = session.state.channel(this.channelId)
      ? [this.guildId, this.channelId]
      : (this.#last.get(memberId) ?? [this.guildId, null]);
    this.tour.tell({ what: "switched" });
    return this.go(...wanted);
  }

  // Opens a channel; one that is missing or not visible is replaced by the guild's first channel.
  go(guildId, channelId = null) {
    const { state } = this.session;
    const guild = state.guilds.get(guildId) ?? state.guilds.values().next().value ?? null;
    this.guildId = guild?.id ?? guildId;
    this.channelId = guild?.channels.has(channelId) ? channelId : firstChannel(guild);
    if (guild) history.replaceState(null, "", `#/${this.session.member.id}/${this.guildId}/${this.channelId ?? ""}`);
    if (document.body.classList.contains("drawer-open")) this.#openDrawer(false);
    closeMenu();
    state.unread.delete(this.channelId);
    this.#redrawAll();
    return this.timeline.open();
  }

  async jump({ guildId, channelId, messageId }) {
    const channel = this.session.state.channel(channelId);
    if (!channel) return notice(t("notVisible"), "error");
    if (channelId !== this.channelId) await this.go(guildId ?? channel.guild_id, channelId);
    if (messageId) await this.timeline.jump(messageId);
    return undefined;
  }

  // files: [{file: File, description?}] -> attachment references.
  upload(channelId, files) {
    const isOwnImage = ({ file }) => /^image\/|\.hei[cf]$/i.test(file.type || file.name) && !isScene(file);
    if (this.world.bot_model === "bundled" && files.some(isOwnImage)) this.modelNote.show();
    return this.session.api.upload(channelId, files);
  }

  // go: see tour_steps.js.
  async #goTour({ become, command, values = {} }) {
    const member = this.world.members.find(({ username }) => username === become);
    if (member) await this.be(member.id);
    const texts = Object.entries(values).map(([option, text]) => [option, inLanguage(text)]);
    if (command) await this.composer.startCommand(command, Object.fromEntries(texts));
  }

  // ---- redrawing
  #changed(session, change) {
    if (session !== this.session) {
      if (change.what === "restart") renderMembers(this);
      return;
    }
    if (change.what === "message" || change.what === "reset") this.#messageChanged(change);
    else if (change.what === "restart") this.go(this.guildId, this.channelId);
    else if (!this.channel() && this.channelId) this.go(this.guildId);
    else this.#redrawAround();
  }

  #messageChanged(change) {
    if (change.channelId === this.channelId) {
      this.session.state.unread.delete(this.channelId);
      this.timeline.change(change);
    } else if (change.isNew) renderChannels(this);
  }

  #redrawAround() {
    if (this.world) renderMembers(this);
    if (this.world) renderChannels(this);
    renderGuilds(this);
    renderHeader(this);
    renderStatus(this);
    const channel = this.channel();
    const place = `${this.session?.member.id}/${this.channelId}`;
    this.composer.settle(place, channel ? `#${channel.name}` : "", maySend(channel) && mayRead(channel));
  }

  #redrawAll() {
    renderFixedTexts();
    this.#redrawAround();
    this.tour.render();
    this.modelNote.render();
    this.tray.render();
  }

  #redrawStatus() {
    if (this.world) renderStatus(this);
  }

  // The bot is ready while it is connected and has registered its commands.
  async #watchBot() {
    if (this.guild() && this.session.status === "online") {
      try {
        const [{ bot_connected: connected }, commands] = await Promise.all([
          readJson("/sandbox/world"),
          this.session.commands(this.guildId),
        ]);
        this.botReady = connected && commands.length > 0;
        if (this.botReady) this.tour.offer(slashEntries(commands));
      } catch {
        this.botReady = false;
      }
    }
    this.#redrawStatus();
    const pause = this.botReady ? BOT_RECHECK_MS : BOT_CHECK_MS;
    setTimeout(() => this.#watchBot(), this.guild() ? pause : FIRST_CHECK_MS);
  }

  // ---- the page's own controls
  #bindPage() {
    for (const node of document.querySelectorAll("[data-language]"))
      node.addEventListener("click", () => this.#speak(node.dataset.language));
    byId("drawer").addEventListener("click", () => this.#openDrawer(!document.body.classList.contains("drawer-open")));
    byId("veil").addEventListener("click", () => this.#openDrawer(false));
    for (const part of [byId("drawer"), byId("guilds"), byId("sidebar")])
      part.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && document.body.classList.contains("drawer-open")) this.#openDrawer(false);
      });
    byId("tour-button").addEventListener("click", () => this.tour.toggle());
    for (const node of document.querySelectorAll("[data-icon]")) fill(node, icon(node.dataset.icon));
    document.addEventListener("paste", (event) => {
      const files = pastedFiles(event.clipboardData);
      if (!files.length) return;
      event.preventDefault();
      this.composer.addFiles(files);
    });
    this.#bindDrop(byId("chat"));
  }

  // On a telephone: the servers and channels lie over the messages.
  #openDrawer(open) {
    document.body.classList.toggle("drawer-open", open);
    byId("drawer").setAttribute("aria-expanded", String(open));
    const list = byId("channels");
    const first = open ? (list.querySelector("[aria-current]") ?? list.querySelector("button")) : byId("drawer");
    first?.focus();
  }

  #bindDrop(chat) {
    const over = (event) => event.dataTransfer?.types.includes("Files");
    const show = (shown) => {
      fill(
        byId("drop-zone"),
        shown ? el("div", {}, icon("image", 48), t("dropHere", { name: `#${this.channel()?.name ?? ""}` })) : null,
      );
      byId("drop-zone").hidden = !shown;
    };
    chat.addEventListener("dragover", (event) => {
      if (over(event)) {
        event.preventDefault();
        show(true);
      }
    });
    chat.addEventListener("dragleave", (event) => {
      if (!chat.contains(event.relatedTarget)) show(false);
    });
    chat.addEventListener("drop", (event) => {
      if (!over(event)) return;
      event.preventDefault();
      show(false);
      this.composer.addFiles(event.dataTransfer.files);
    });
  }

  #speak(name) {
    if (name === language()) return;
    setLanguage(name);
    localStorage.setItem(LANGUAGE, name);
    this.#redrawAll();
    this.composer.translate();
    this.timeline.redraw();
    this.timeline.toBottom();
  }
}

const firstChannel = (guild) =>
  channelTree([...(guild?.channels.values() ?? [])]).find(
    ({ channel }) => channel && channel.type !== CHANNEL.CATEGORY && mayRead(channel),
  )?.channel.id ?? null;

new App().start().catch(errorNotice);
