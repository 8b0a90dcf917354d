// A member's REST client: the same requests as Discord's own apps.
import { discordLocale, t } from "./texts.js";

const BASE = "/api/v10";
const SECOND = 1000;
const MAX_ATTEMPTS = 5;

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = body?.code ?? 0;
    this.details = fieldErrors(body?.errors);
  }
}

// Discord nests form errors by field: {"content": {"_errors": [{"message": …}]}}.
function fieldErrors(errors) {
  if (!errors || typeof errors !== "object") return [];
  const own = (errors._errors ?? []).map((error) => error.message);
  return own.concat(
    ...Object.entries(errors)
      .filter(([key]) => key !== "_errors")
      .map(([, inner]) => fieldErrors(inner)),
  );
}

export async function readJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new ApiError(response.status, await bodyOf(response));
  return response.json();
}

async function bodyOf(response) {
  const text = await response.text();
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return { message: text.slice(0, 200) };
  }
}

export class Api {
  #token;

  constructor(token) {
    this.#token = token;
  }

  async request(method, path, body) {
    for (let attempt = 1; ; attempt += 1) {
      const response = await this.#send(method, path, body);
      const answer = await bodyOf(response);
      if (response.ok) return answer;
      if (response.status !== 429 || attempt === MAX_ATTEMPTS) throw new ApiError(response.status, answer);
      await new Promise((resolve) => setTimeout(resolve, (answer?.retry_after ?? 1) * SECOND));
    }
  }

  async #send(method, path, body) {
    const headers = { Authorization: this.#token, "X-Discord-Locale": discordLocale() };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      return await fetch(BASE + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw new Error(t("unreachable"));
    }
  }

  gateway = () => this.request("GET", "/gateway");

  channels = (guildId) => this.request("GET", `/guilds/${guildId}/channels`);

  channel = (channelId) => this.request("GET", `/channels/${channelId}`);

  commands = (guildId) => this.request("GET", `/guilds/${guildId}/application-command-index`);

  messages = (channelId, query) => this.request("GET", `/channels/${channelId}/messages?${new URLSearchParams(query)}`);

  send = (channelId, body) => this.request("POST", `/channels/${channelId}/messages`, body);

  edit = (message, body) => this.request("PATCH", `/channels/${message.channel_id}/messages/${message.id}`, body);

  remove = (message) => this.request("DELETE", `/channels/${message.channel_id}/messages/${message.id}`);

  react = (message, emoji, add) =>
    this.request(
      add ? "PUT" : "DELETE",
      `/channels/${message.channel_id}/messages/${message.id}/reactions/${encodeURIComponent(emoji)}/@me`,
    );

  interact = (body) => this.request("POST", "/interactions", body);

  // files: [{file: File, description?}] -> attachment references. Requests upload slots, then uploads the bytes.
  async upload(channelId, files) {
    const wanted = files.map(({ file }, index) => ({ id: String(index), filename: file.name, file_size: file.size }));
    const { attachments: slots } = await this.request("POST", `/channels/${channelId}/attachments`, { files: wanted });
    return Promise.all(files.map((entry, index) => this.#put(entry, slots[index], index)));
  }

  async #put({ file, description }, slot, index) {
    const target = new URL(slot.upload_url, location.href);
    const response = await fetch(target.pathname + target.search, {
      method: "PUT",
      body: file,
      headers: { "Content-Type": file.type || "application/octet-stream" },
    });
    const answer = await bodyOf(response);
    if (!response.ok) throw new ApiError(response.status, answer);
    const reference = { id: String(index), filename: file.name, uploaded_filename: slot.upload_filename };
    return description ? { ...reference, description } : reference;
  }
}
