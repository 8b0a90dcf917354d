// The composer: text, images by button, drop or paste, replies, "/" for commands, "@" for names.
import { completeCommand, matching, slashEntries } from "./commands.js";
import { byId, el, fill, icon, iconButton } from "./dom.js";
import { snowflakeNow } from "./format.js";
import { nextNonce } from "./interactions.js";
import { mentionsToIds } from "./mentions.js";
import { errorNotice } from "./notices.js";
import { avatar, nameOf } from "./people.js";
import { Prompt } from "./prompt.js";
import { mayUse } from "./rights.js";
import { Suggest } from "./suggest.js";
import { t } from "./texts.js";

const MAX_FILES = 10;

export class Composer {
  #app;
  #text;
  #suggest;
  #prompt;
  #files = [];
  #replyTo = null;
  #entries = [];
  #place = null;

  constructor(app) {
    this.#app = app;
    this.#text = byId("text");
    this.#suggest = new Suggest(this.#text, byId("composer"), t("suggestions"), (item) => item.onPick());
    this.#prompt = new Prompt(byId("prompt"), app, () => this.#promptDone());
    this.#text.addEventListener("input", () => this.#typed());
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    this.#text.addEventListener("blur", () => this.#suggest.hide());
    byId("write").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    byId("file").addEventListener("change", (event) => {
      this.addFiles(event.target.files);
      event.target.value = "";
    });
    byId("attach").addEventListener("click", () => byId("file").click());
  }

  // Switching the channel or the member clears the draft. Otherwise the draft stays: a new language or a reconnect must
  // not lose a text, an image or a half-filled command.
  settle(place, channelName, writable) {
    if (place !== this.#place) this.#clear();
    this.#place = place;
    this.#text.disabled = !writable;
    byId("attach").disabled = !writable;
    byId("send").disabled = !writable;
    const hint = writable ? t("messageIn", { name: channelName }) : t("mayNotSend");
    this.#text.placeholder = hint;
    this.#text.setAttribute("aria-label", hint);
    this.#grow();
    this.#renderExtras();
  }

  // After a change of language.
  translate() {
    this.#suggest.hide();
    this.#prompt.redraw();
  }

  #clear() {
    this.#prompt.close();
    this.#suggest.hide();
    this.#files = [];
    this.#replyTo = null;
    this.#text.value = "";
    byId("write").hidden = false;
  }

  focus() {
    this.#text.focus();
  }

  replyTo(message) {
    this.#replyTo = message;
    this.#renderExtras();
    this.focus();
  }

  // Adds images to the open command if it takes one, otherwise to the next message.
  addFiles(files) {
    const list = [...files];
    if (this.#prompt.isOpen && list.length && this.#prompt.takeFile(list[0])) return;
    if (this.#text.disabled) return;
    this.#files = [...this.#files, ...list].slice(0, MAX_FILES);
    this.#renderExtras();
    this.focus();
  }

  // A scene of the tray: goes into the open command if it takes an image, otherwise it is posted at once.
  async postNow(file, description) {
    if (this.#prompt.isOpen && this.#prompt.takeFile(file)) return;
    await this.#post("", [{ file, description }], null);
  }

  // values: {option name: text} to begin with.
  async startCommand(name, values = {}) {
    await this.#refreshEntries();
    const entry = this.#entries.find((one) => one.name === name);
    if (entry) this.#openPrompt(entry, "", values);
    else this.#setText(`/${name}`);
  }

  #setText(value) {
    this.#text.value = value;
    this.focus();
    this.#typed();
  }

  async #refreshEntries() {
    try {
      const commands = await this.#app.session.commands(this.#app.guildId);
      const channel = this.#app.channel();
      this.#entries = slashEntries(commands.filter((command) => mayUse(command, channel)));
    } catch (error) {
      errorNotice(error);
    }
  }

  async #typed() {
    this.#grow();
    if (!this.#text.value.startsWith("/")) return this.#suggestNames();
    await this.#refreshEntries();
    const typed = this.#text.value;
    if (!typed.startsWith("/") || this.#prompt.isOpen) return undefined;
    const complete = completeCommand(this.#entries, typed);
    if (complete) return this.#openPrompt(complete.entry, complete.rest);
    const items = matching(this.#entries, typed).map((entry) => ({
      label: `/${entry.label}`,
      detail: entry.description,
      lead: () => avatar({ id: entry.command.application_id, bot: true }, 26),
      onPick: () => this.#openPrompt(entry),
    }));
    return this.#suggest.show(items, t("commands"), { emptyText: t("noCommand") });
  }

  #openPrompt(entry, rest = "", values = {}) {
    this.#suggest.hide();
    this.#text.value = "";
    byId("write").hidden = true;
    this.#prompt.open(entry, rest, values);
  }

  #promptDone() {
    byId("write").hidden = false;
    this.focus();
  }

  #suggestNames() {
    const found = /(?:^|\s)@([^\s@]*)$/.exec(this.#text.value.slice(0, this.#text.selectionStart));
    if (!found) return this.#suggest.hide();
    const wanted = found[1].toLowerCase();
    const people = this.#app.people().filter(({ user }) => nameOf(user).toLowerCase().startsWith(wanted));
    return this.#suggest.show(
      people.slice(0, 8).map(({ user }) => ({
        label: nameOf(user),
        detail: user.username,
        lead: () => avatar(user, 24),
        onPick: () => this.#writeName(nameOf(user), found[1]),
      })),
      t("members"),
    );
  }

  #writeName(name, typed) {
    const at = this.#text.selectionStart;
    this.#text.setRangeText(`${name} `, at - typed.length, at, "end");
    this.focus();
  }

  #key(event) {
    if (event.isComposing || this.#suggest.key(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "Escape" && this.#replyTo) this.replyTo(null);
  }

  async #send() {
    const text = this.#text.value.trim();
    if (this.#text.disabled || (!text && !this.#files.length)) return;
    if (text.startsWith("/") && (await this.#runCommand(text))) return;
    const [files, reply] = [this.#files, this.#replyTo];
    this.#text.value = "";
    this.#files = [];
    this.#replyTo = null;
    this.#grow();
    this.#renderExtras();
    const sent = await this.#post(
      mentionsToIds(text, this.#app.people()),
      files.map((file) => ({ file })),
      reply,
    );
    if (sent) return;
    this.#text.value = text;
    this.#files = files;
    this.#replyTo = reply;
    this.#renderExtras();
  }

  // Enter was pressed before the command's fields were shown: "/find a cat" is a command, never a message.
  async #runCommand(text) {
    await this.#refreshEntries();
    if (this.#prompt.isOpen) return true;
    const complete = completeCommand(this.#entries, `${text} `);
    if (!complete) return false;
    this.#openPrompt(complete.entry, complete.rest.trim());
    await this.#prompt.run();
    return true;
  }

  async #post(content, files, reply) {
    const { session, channelId } = this.#app;
    try {
      const body = { content, nonce: nextNonce() };
      if (files.length) body.attachments = await this.#app.upload(channelId, files);
      if (reply) body.message_reference = { channel_id: reply.channel_id, message_id: reply.id };
      await session.api.send(channelId, body);
      this.#app.tour.tell({
        what: "posted",
        pictures: files.filter(({ file }) => file.type.startsWith("image/")).length,
      });
      return true;
    } catch (error) {
      errorNotice(error);
      return false;
    }
  }

  #grow() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 180)}px`;
  }

  #renderExtras() {
    fill(
      byId("extras"),
      this.#replyTo ? this.#replyBar() : null,
      this.#files.length
        ? el(
            "ul",
            { class: "pending" },
            this.#files.map((file, index) => this.#pendingFile(file, index)),
          )
        : null,
    );
  }

  #replyBar() {
    const name = nameOf(this.#replyTo.author);
    return el(
      "div",
      { class: "reply-bar" },
      icon("reply", 16),
      el("span", {}, t("replyingTo", { name })),
      iconButton("close", t("cancel"), () => this.replyTo(null)),
    );
  }

  #pendingFile(file, index) {
    const remove = () => {
      this.#files = this.#files.filter((_, other) => other !== index);
      this.#renderExtras();
    };
    const preview = file.type.startsWith("image/")
      ? el("img", { src: URL.createObjectURL(file), alt: file.name })
      : icon("image", 32);
    return el(
      "li",
      {},
      preview,
      el("span", {}, file.name),
      iconButton("close", t("removeFile", { name: file.name }), remove),
    );
  }
}

// Pasted screenshots have no name of their own.
export function pastedFiles(clipboard) {
  return [...(clipboard?.files ?? [])].map((file) =>
    file.name === "image.png" ? new File([file], `pasted-${snowflakeNow()}.png`, { type: file.type }) : file,
  );
}
