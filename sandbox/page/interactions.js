// Sends commands, autocomplete requests, component uses and answers of modals to an application, and handles its gateway events.
import { pictureCount } from "./components.js";
import { nestOptions } from "./commands.js";
import { snowflakeNow } from "./format.js";
import { FLAG } from "./state.js";
import { t } from "./texts.js";

const TYPE = { COMMAND: 2, COMPONENT: 3, AUTOCOMPLETE: 4, MODAL: 5 };
// Discord gives an application three seconds to respond; this adds some time for the network.
const TIMEOUT_MS = 5000;
let lastNonce = 0n;

// Unique and increasing, like those of Discord's apps.
export function nextNonce() {
  const now = BigInt(snowflakeNow());
  lastNonce = now > lastNonce ? now : lastNonce + 1n;
  return String(lastNonce);
}

export class Interactions {
  #api;
  #state;
  #session;
  #pending = new Map();
  #onRefused;
  #onModal;
  #onAnswer;
  // What this client asked, by the id that the server gave it.
  #asked = new Map();

  // onRefused(error): the server did not accept a request; onModal(modal): an application shows a form;
  // onAnswer(event): an application has answered, see tour.js.
  constructor({ api, state, session, onRefused, onModal, onAnswer }) {
    this.#api = api;
    this.#state = state;
    this.#session = session;
    this.#onRefused = onRefused;
    this.#onModal = onModal;
    this.#onAnswer = onAnswer;
  }

  // entry: see commands.js; values: Map of option name -> value. Resolves to false if the server refused it.
  slash(entry, place, values, attachments = []) {
    const about = { command: entry.name, options: [...values.keys()] };
    return this.#command(entry.command, place, about, { options: nestOptions(entry, values), attachments });
  }

  async messageMenu(command, message, guildId) {
    await this.#command(
      command,
      { guildId, channelId: message.channel_id },
      { command: command.name, menu: true },
      { target_id: message.id, options: [], attachments: [] },
    );
  }

  async #command(command, place, about, more) {
    const nonce = nextNonce();
    const waiting = this.#placeholder(command, place.channelId, nonce);
    const fail = () => this.#didNotRespond(waiting);
    return this.#start(TYPE.COMMAND, command.application_id, place, { ...this.#data(command), ...more }, nonce, {
      failed: fail,
      refused: () => this.#state.drop(waiting.channel_id, waiting.id),
      done: () => this.#state.drop(waiting.channel_id, waiting.id),
      about,
    });
  }

  #data(command) {
    const { version, id, name, type, guild_id: guildId } = command;
    return { version, id, name, type: type ?? 1, ...(guildId ? { guild_id: guildId } : {}) };
  }

  // The message that is shown until the application responds.
  #placeholder(command, channelId, nonce) {
    const message = {
      id: nonce,
      nonce,
      local: "waiting",
      channel_id: channelId,
      type: 20,
      flags: FLAG.EPHEMERAL,
      content: "",
      attachments: [],
      embeds: [],
      author: this.#state.user(command.application_id) ?? { id: command.application_id, username: "Magpie", bot: true },
      interaction: { name: command.name, type: TYPE.COMMAND, user: this.#state.me },
      timestamp: new Date().toISOString(),
    };
    this.#state.put(message, true);
    return message;
  }

  #didNotRespond(waiting) {
    if (this.#state.message(waiting.channel_id, waiting.id)) this.#state.put({ ...waiting, local: "failed" }, false);
  }

  // Resolves to null if the application responded, to an error text if it did not.
  component(message, component, values, guildId) {
    const data = { component_type: component.type, custom_id: component.custom_id, ...(values ? { values } : {}) };
    const application = message.application_id ?? message.author.id;
    return new Promise((resolve) => {
      const ends = {
        done: () => resolve(null),
        failed: () => resolve(t("interactionFailed")),
        refused: () => resolve(t("interactionFailed")),
        about: { button: component.custom_id },
      };
      const place = { guildId, channelId: message.channel_id };
      this.#start(TYPE.COMPONENT, application, place, data, nextNonce(), ends, {
        message_id: message.id,
        message_flags: message.flags ?? 0,
      });
    });
  }

  // The answer of a modal. Resolves to null if the application responded, to an error text otherwise.
  modal({ id, custom_id: customId, application, channel_id: channelId }, components, attachments) {
    const data = { id, custom_id: customId, components, ...(attachments.length ? { attachments } : {}) };
    const guildId = this.#state.channel(channelId)?.guild_id;
    return new Promise((resolve) => {
      const ends = {
        done: () => resolve(null),
        failed: () => resolve(t("modalFailed")),
        refused: (error) => resolve([error.message, ...(error.details ?? [])].join(" ")),
        isToldElsewhere: true,
      };
      this.#start(TYPE.MODAL, application.id, { guildId, channelId }, data, nextNonce(), ends);
    });
  }

  // Resolves to the application's choices for a partly typed option; empty if it does not respond.
  autocomplete(command, place, options) {
    return new Promise((resolve) => {
      const ends = { done: () => resolve([]), failed: () => resolve([]), refused: () => resolve([]), choices: resolve };
      this.#start(
        TYPE.AUTOCOMPLETE,
        command.application_id,
        place,
        { ...this.#data(command), options, attachments: [] },
        nextNonce(),
        ends,
      );
    });
  }

  async #start(type, application, { guildId, channelId }, data, nonce, ends, more = {}) {
    const timer = setTimeout(() => this.#end(nonce, "failed"), TIMEOUT_MS);
    this.#pending.set(nonce, { ...ends, timer });
    const body = {
      type,
      application_id: application,
      channel_id: channelId,
      session_id: this.#session(),
      data,
      nonce,
      ...more,
    };
    try {
      await this.#api.interact(guildId ? { ...body, guild_id: guildId } : body);
      return true;
    } catch (error) {
      this.#end(nonce, "refused", error);
      if (!ends.isToldElsewhere) this.#onRefused(error);
      return false;
    }
  }

  #end(nonce, how, value) {
    const pending = this.#pending.get(nonce);
    if (!pending) return;
    clearTimeout(pending.timer);
    this.#pending.delete(nonce);
    pending[how]?.(value);
  }

  handle(name, data) {
    if (name === "INTERACTION_CREATE") this.#asked.set(data.id, this.#pending.get(data.nonce)?.about);
    if (name === "MESSAGE_CREATE" || name === "MESSAGE_UPDATE") this.#answered(data);
    if (name === "INTERACTION_SUCCESS" || name === "MESSAGE_CREATE") this.#end(data.nonce, "done");
    else if (name === "INTERACTION_MODAL_CREATE") {
      this.#end(data.nonce, "done");
      this.#onModal(data);
    } else if (name === "INTERACTION_FAILURE") this.#end(data.nonce, "failed");
    else if (name === "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE") this.#end(data.nonce, "choices", data.choices ?? []);
  }

  // Tells of an answer once it is more than "is thinking …".
  #answered({ channel_id: channelId, id }) {
    const message = this.#state.message(channelId, id);
    const about = this.#asked.get(message?.interaction_metadata?.id);
    if (!about || (message.flags ?? 0) & FLAG.LOADING) return;
    this.#onAnswer({ what: "answer", command: null, options: [], ...about, pictures: pictureCount(message) });
  }
}
