// The messages of the open channel: updates rows with the state, loads older pages, jumps, follows new messages.
import { byId, el, fill, icon } from "./dom.js";
import { replaceKeepingFocus } from "./focus.js";
import { dayName, sameDay, snowflakeTime } from "./format.js";
import { freshenTimes } from "./markdown.js";
import { coverAgain } from "./media.js";
import { messageRow } from "./message.js";
import { errorNotice, notice } from "./notices.js";
import { mayRead } from "./rights.js";
import { FLAG } from "./state.js";
import { t } from "./texts.js";

const GROUP_MS = 7 * 60 * 1000;
const NEAR_BOTTOM = 80;
const FLASH_MS = 2200;
const FRESHEN_MS = 10_000;

export class Timeline {
  #app;
  #actions;
  #rows = new Map();
  #list = byId("messages");
  #scroller = byId("scroller");
  #shown = null;
  #held = true;
  #placedAt = 0;
  #loading = false;
  #used = null;

  constructor(app, actions) {
    this.#app = app;
    this.#actions = actions;
    this.#scroller.addEventListener("scroll", () => this.#scrolled());
    byId("to-present").addEventListener("click", () => this.toBottom());
    setInterval(() => freshenTimes(this.#list), FRESHEN_MS);
    // Images that load late, or a growing composer, must not push the newest message out of view.
    new ResizeObserver(() => {
      if (this.#held) this.toBottom();
    }).observe(this.#list);
    new ResizeObserver(() => {
      if (this.#held) this.toBottom();
    }).observe(this.#scroller);
  }

  // Redraws the open channel; fetches its newest page if it is not loaded.
  async open() {
    const { session, channelId } = this.#app;
    const channel = this.#app.channel();
    this.#shown = channelId;
    this.redraw();
    this.toBottom();
    if (!channelId || !mayRead(channel)) return;
    if (!session.state.messages.has(channelId) || !session.loaded.has(channelId))
      await this.#load(() => session.loadNewest(channelId));
    if (this.#shown === channelId) this.toBottom();
  }

  // For another reader, or in another language: spoilers are covered again.
  redraw() {
    coverAgain();
    this.#rows.clear();
    fill(this.#list);
    this.sync();
  }

  change({ channelId, id, isNew }) {
    if (channelId !== this.#app.channelId) return;
    this.sync();
    const { state, member } = this.#app.session;
    const message = isNew ? state.message(channelId, id) : null;
    // Own posts and responses to own commands are scrolled into view.
    if (message && (message.author.id === member.id || (message.flags ?? 0) & FLAG.EPHEMERAL)) this.toBottom();
  }

  // Scrolls to the newest message; a message taller than the window is shown from its start. Whoever uses the newest
  // message, by its buttons for instance, stays where they are.
  toBottom() {
    const last = this.#list.lastElementChild;
    if (last?.contains(document.activeElement)) return;
    const tall = last?.classList.contains("ephemeral") && last.offsetHeight > this.#scroller.clientHeight;
    this.#scroller.scrollTop = tall ? last.offsetTop - this.#list.offsetTop : this.#scroller.scrollHeight;
    this.#placedAt = this.#scroller.scrollTop;
    this.#held = true;
    byId("to-present").hidden = true;
  }

  async jump(messageId) {
    const { session, channelId } = this.#app;
    let found = false;
    await this.#load(async () => {
      found = await session.loadFrom(channelId, messageId);
    });
    if (!found) return notice(t("messageGone"), "error");
    this.sync();
    this.#held = false;
    const row = byId(`message-${messageId}`);
    row.scrollIntoView({ block: "center" });
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
    row.classList.add("flash");
    setTimeout(() => row.classList.remove("flash"), FLASH_MS);
    return undefined;
  }

  async #load(work) {
    this.#loading = true;
    try {
      await work();
    } catch (error) {
      errorNotice(error);
    }
    this.#loading = false;
    this.sync();
  }

  // Follows new messages until the user scrolls away; scrolling by script does not count.
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const nearBottom = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM;
    this.#held = nearBottom || (this.#held && Math.abs(scrollTop - this.#placedAt) < 2);
    byId("to-present").hidden = this.#held;
  }

  async #older() {
    const { session, channelId } = this.#app;
    const oldest = session.state.list(channelId).find((message) => !message.local);
    if (!oldest || this.#loading) return;
    const before = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    await this.#load(() => session.loadBefore(channelId, oldest.id));
    this.#scroller.scrollTop = this.#scroller.scrollHeight - before;
  }

  // Updates the rows; unchanged ones keep their nodes, so that nothing flickers or loses focus.
  sync() {
    const { session, channelId } = this.#app;
    const wasHeld = this.#held;
    this.#used = null;
    const wanted = channelId && session ? this.#entries(session.state.list(channelId)) : [];
    const keys = new Set(wanted.map((entry) => entry.key));
    for (const [key, { node }] of this.#rows) {
      if (keys.has(key)) continue;
      node.remove();
      this.#rows.delete(key);
    }
    let cursor = this.#list.firstChild;
    for (const entry of wanted) {
      const node = this.#row(entry);
      if (cursor && !cursor.isConnected) cursor = node;
      if (node !== cursor) this.#list.insertBefore(node, cursor);
      cursor = node.nextSibling;
    }
    if (this.#used) this.#scrolled();
    else if (wasHeld) this.toBottom();
  }

  #row(entry) {
    const known = this.#rows.get(entry.key);
    if (known && known.entry.source === entry.source && known.entry.look === entry.look) return known.node;
    const node = drawn(entry);
    this.#rows.set(entry.key, { node, entry });
    if (known && replaceKeepingFocus(known.node, node, this.#scroller)) this.#used = node;
    return node;
  }

  #entries(messages) {
    const { state } = this.#app.session;
    const head =
      state.complete.has(this.#app.channelId) || !messages.length
        ? this.#startEntry(messages.length === 0)
        : this.#olderEntry();
    const entries = this.#loading && !messages.length ? [] : [head];
    let above = null;
    for (const message of messages) {
      const when = snowflakeTime(message.id);
      if (!above || !sameDay(when, snowflakeTime(above.id))) entries.push(dayEntry(when));
      entries.push(this.#messageEntry(message, above));
      above = message;
    }
    return entries;
  }

  #messageEntry(message, above) {
    const compact =
      Boolean(above) &&
      above.author.id === message.author.id &&
      above.type === 0 &&
      message.type === 0 &&
      !((above.flags ^ message.flags) & 64) &&
      snowflakeTime(message.id) - snowflakeTime(above.id) < GROUP_MS &&
      sameDay(snowflakeTime(above.id), snowflakeTime(message.id));
    const look = `${compact} ${this.#actions.editing === message.id} ${this.#actions.failures.get(message.id) ?? ""}`;
    return { key: message.id, source: message, look, make: () => messageRow(message, { compact }, this.#actions) };
  }

  #startEntry(empty) {
    const channel = this.#app.channel();
    const name = channel ? channel.name : "";
    const make = () =>
      el(
        "li",
        { class: "start" },
        el("span", { class: "start-mark" }, icon(this.#app.channelIcon(), 30)),
        el("h2", {}, t("channelStart", { name })),
        empty ? el("p", {}, t("channelEmpty")) : null,
      );
    return { key: "start", source: channel?.id, look: String(empty), make };
  }

  #olderEntry() {
    return {
      key: "older",
      source: "older",
      look: "",
      make: () =>
        el(
          "li",
          { class: "older" },
          el(
            "button",
            { type: "button", class: "c-button secondary", on: { click: () => this.#older() } },
            t("loadOlder"),
          ),
        ),
    };
  }
}

// An error in one message must not hide the others.
function drawn(entry) {
  try {
    return entry.make();
  } catch (error) {
    console.error(`Row ${entry.key} cannot be drawn:`, error);
    return el("li", { class: "message unshown" }, t("messageUnshown"));
  }
}

function dayEntry(date) {
  const name = dayName(date);
  return {
    key: `day-${date.toDateString()}`,
    source: name,
    look: "",
    make: () => el("li", { class: "day" }, el("span", {}, name)),
  };
}
