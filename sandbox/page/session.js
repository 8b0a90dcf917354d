// A member's client: REST, gateway, state, interactions. Each member has their own, so that switching loses nothing.
import { Api } from "./api.js";
import { Gateway, sameHost } from "./gateway.js";
import { Interactions } from "./interactions.js";
import { isThread, State } from "./state.js";

const PAGE = 50;
const COMMANDS_FRESH_MS = 4000;
const RIGHTS_CHANGED = ["GUILD_ROLE_UPDATE", "GUILD_ROLE_DELETE", "GUILD_MEMBER_UPDATE"];

export class Session {
  status = "connecting";
  loaded = new Set();
  #commands = new Map();

  // listeners: { onChange(session, change), onStatus(session), onModal(session, modal), onAnswer(event), onError(error) }
  constructor(member, listeners) {
    this.member = member;
    this.api = new Api(member.token);
    this.state = new State();
    this.state.listen((change) => listeners.onChange(this, change));
    this.interactions = new Interactions({
      api: this.api,
      state: this.state,
      session: () => this.#gateway?.sessionId ?? "",
      onRefused: listeners.onError,
      onModal: (modal) => listeners.onModal(this, modal),
      onAnswer: listeners.onAnswer,
    });
    this.#listeners = listeners;
  }

  #listeners;
  #gateway = null;

  open() {
    const address = sameHost("/gateway");
    this.#gateway = new Gateway(this.member.token, address, {
      onEvent: (name, data) => {
        if (name === "READY") this.loaded.clear();
        this.state.apply(name, data);
        this.interactions.handle(name, data);
        if (RIGHTS_CHANGED.includes(name)) this.#refreshRights(data).catch(this.#listeners.onError);
      },
      onStatus: (status) => {
        this.status = status;
        this.#listeners.onStatus(this);
      },
    });
    this.#gateway.open();
  }

  // Role events do not contain this member's permissions in each channel: fetch the channels again.
  async #refreshRights({ guild_id: guildId, user }) {
    if (user && user.id !== this.member.id) return;
    const known = [...(this.state.guilds.get(guildId)?.channels.values() ?? [])];
    const threads = known.filter(isThread).map(({ id }) => this.api.channel(id).catch(() => null));
    const now = [...(await this.api.channels(guildId)), ...(await Promise.all(threads))];
    // Channels that are no longer visible have their own event, which may have arrived first.
    for (const channel of now)
      if (channel && this.state.channel(channel.id)) this.state.apply("CHANNEL_UPDATE", channel);
  }

  close() {
    this.#gateway?.close();
  }

  async loadNewest(channelId) {
    this.state.forgetHistory(channelId);
    this.#keep(channelId, await this.api.messages(channelId, { limit: PAGE }));
    this.loaded.add(channelId);
  }

  async loadBefore(channelId, messageId) {
    this.#keep(channelId, await this.api.messages(channelId, { limit: PAGE, before: messageId }));
  }

  #keep(channelId, page) {
    if (page.length < PAGE) this.state.complete.add(channelId);
    this.state.remember(channelId, page);
  }

  // Loads all messages from this one to the newest. False if the message does not exist any more.
  async loadFrom(channelId, messageId) {
    if (this.state.message(channelId, messageId)) return true;
    const around = await this.api.messages(channelId, { limit: PAGE, around: messageId });
    if (!around.some((message) => message.id === messageId)) return false;
    let page = around;
    this.state.forgetHistory(channelId);
    this.state.remember(channelId, around);
    while (page.length) {
      page = await this.api.messages(channelId, { limit: 100, after: page[0].id });
      if (page.length) this.state.remember(channelId, page);
    }
    return true;
  }

  // The bot may register commands at any time: fetch the list again after a few seconds.
  async commands(guildId) {
    const known = this.#commands.get(guildId);
    if (known && Date.now() - known.at < COMMANDS_FRESH_MS) return known.list;
    const list = (await this.api.commands(guildId)).application_commands ?? [];
    this.#commands.set(guildId, { list, at: Date.now() });
    return list;
  }
}
