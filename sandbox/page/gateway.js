// The gateway client: HELLO, heartbeat, IDENTIFY, RESUME, and reconnects with backoff.

const OP = { DISPATCH: 0, HEARTBEAT: 1, IDENTIFY: 2, RESUME: 6, RECONNECT: 7, INVALID: 9, HELLO: 10, ACK: 11 };
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
const FATAL_CODES = [4004, 4010, 4011, 4012, 4013, 4014];

export class Gateway {
  #token;
  #address;
  #onEvent;
  #onStatus;
  #socket = null;
  #sequence = null;
  #resumeAddress = null;
  #beat = null;
  #acknowledged = true;
  #pause = FIRST_PAUSE_MS;
  #retry = null;
  #closed = false;
  sessionId = null;

  // onEvent(name, data) for each dispatch; onStatus("connecting" | "online" | "lost" | "refused").
  constructor(token, address, { onEvent, onStatus }) {
    this.#token = token;
    this.#address = address;
    this.#onEvent = onEvent;
    this.#onStatus = onStatus;
  }

  open() {
    if (this.#closed) return;
    this.#onStatus(this.sessionId ? "lost" : "connecting");
    const base = (this.sessionId && this.#resumeAddress) || this.#address;
    const socket = new WebSocket(`${base}?encoding=json&v=9`);
    this.#socket = socket;
    socket.addEventListener("message", (message) => this.#receive(JSON.parse(message.data)));
    socket.addEventListener("close", (event) => this.#lost(socket, event.code));
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#beat);
    this.#socket?.close(1000);
  }

  #send(op, d) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ op, d }));
  }

  #receive({ op, d, s, t }) {
    if (s !== null && s !== undefined) this.#sequence = s;
    if (op === OP.HELLO) this.#greet(d.heartbeat_interval);
    else if (op === OP.HEARTBEAT) this.#send(OP.HEARTBEAT, this.#sequence);
    else if (op === OP.ACK) this.#acknowledged = true;
    else if (op === OP.RECONNECT) this.#socket.close(4000);
    else if (op === OP.INVALID) this.#invalid(d);
    else if (op === OP.DISPATCH) this.#dispatch(t, d);
  }

  #greet(interval) {
    this.#acknowledged = true;
    this.#keepBeating(interval);
    if (this.sessionId) this.#send(OP.RESUME, { token: this.#token, session_id: this.sessionId, seq: this.#sequence });
    else this.#identify();
  }

  #identify() {
    this.#send(OP.IDENTIFY, {
      token: this.#token,
      capabilities: 0,
      compress: false,
      large_threshold: 250,
      properties: { os: "", browser: "Magpie sandbox page", device: "" },
      presence: { status: "online", since: 0, activities: [], afk: false },
    });
  }

  // A missing ACK means a dead connection: close it so that it is resumed (gateway docs, "Heartbeat").
  #keepBeating(interval) {
    clearTimeout(this.#beat);
    this.#beat = setTimeout(() => {
      if (!this.#acknowledged) return this.#socket?.close(4000);
      this.#acknowledged = false;
      this.#send(OP.HEARTBEAT, this.#sequence);
      return this.#keepBeating(interval);
    }, interval * 0.9);
  }

  #invalid(resumable) {
    if (!resumable) this.sessionId = null;
    this.#socket.close(4000);
  }

  #dispatch(name, data) {
    if (name === "READY") {
      this.sessionId = data.session_id;
      this.#resumeAddress = data.resume_gateway_url ? sameHost(data.resume_gateway_url) : null;
    }
    if (name === "READY" || name === "RESUMED") {
      this.#pause = FIRST_PAUSE_MS;
      this.#onStatus("online");
    }
    this.#onEvent(name, data);
  }

  #lost(socket, code) {
    clearTimeout(this.#beat);
    if (this.#closed || socket !== this.#socket) return;
    if (FATAL_CODES.includes(code)) return this.#onStatus("refused");
    this.#onStatus("lost");
    this.#retry = setTimeout(() => this.open(), this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    return undefined;
  }
}

// The page's own origin, whatever URL the server states.
export function sameHost(address) {
  const url = new URL(address, location.href);
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${url.pathname}`;
}
