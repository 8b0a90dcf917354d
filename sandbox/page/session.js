// One member's client: REST, gateway, what is known, interactions. Each member keeps theirs, so that switching loses nothing.
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

  // ears: { onChange(session, change), onStatus(session), onModal(session, modal, place), onError(error) }
  constructor(member, ears) {
    this.member = member;
    this.api = new Api(member.token);
    this.state = new State();
    this.state.listen((change) => ears.onChange(this, change));
    this.interactions = new Interactions({
      api: this.api,
      state: this.state,
      session: () => this.#gateway?.sessionId ?? "",
      onModal: (modal, place) => ears.onModal(this, modal, place),
      onRefused: ears.onError,
    });
    this.#ears = ears;
  }

  #ears;
  #gateway = null;

  open() {
    const address = sameHost("/gateway");
    this.#gateway = new Gateway(this.member.token, address, {
      onEvent: (name, data) => {
        if (name === "READY") this.loaded.clear();
        this.state.apply(name, data);
        this.interactions.handle(name, data);
        if (RIGHTS_CHANGED.includes(name)) this.#refreshRights(data).catch(this.#ears.onError);
      },
      onStatus: (status) => {
        this.status = status;
        this.#ears.onStatus(this);
      },
    });
    this.#gateway.open();
  }

  // A role says what it grants, but not what this member may now do in each channel: the server is asked.
  async #refreshRights({ guild_id: guildId, user }) {
    if (user && user.id !== this.member.id) return;
    const known = [...(this.state.guilds.get(guildId)?.channels.values() ?? [])];
    const threads = known.filter(isThread).map(({ id }) => this.api.channel(id).catch(() => null));
    const now = [...(await this.api.channels(guildId)), ...(await Promise.all(threads))];
    // What went out of sight has its own event, which may have been faster than this answer.
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

  // Everything from that message to the newest, so that nothing is missing in between. False when it is gone.
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

  // A bot may register its commands at any moment: asked again after a few seconds.
  async commands(guildId) {
    const known = this.#commands.get(guildId);
    if (known && Date.now() - known.at < COMMANDS_FRESH_MS) return known.list;
    const list = (await this.api.commands(guildId)).application_commands ?? [];
    this.#commands.set(guildId, { list, at: Date.now() });
    return list;
  }
}
