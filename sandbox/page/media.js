// Images: attachments, galleries, thumbnails, spoilers, and the lightbox.
import { el, fill, icon, iconButton } from "./dom.js";
import { fileSize, localUrl } from "./format.js";
import { FLAG, isImage } from "./state.js";
import { t } from "./texts.js";

const WIDEST = 420;
const HIGHEST = 320;
const SMALLEST = 180;

// Fits the image into the box; small images, such as the sample scenes, are enlarged.
export function shownSize(width, height) {
  if (!width || !height) return { width: SMALLEST, height: SMALLEST };
  const fit = Math.min(WIDEST / width, HIGHEST / height);
  const scale = Math.min(fit, Math.max(1, SMALLEST / Math.max(width, height)));
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

const isSpoiler = (attachment) =>
  Boolean((attachment.flags ?? 0) & FLAG.SPOILER_ATTACHMENT) || attachment.filename.startsWith("SPOILER_");

export function attachments(list) {
  const pictures = list.filter(isImage);
  const files = list.filter((one) => !isImage(one));
  return [pictures.length === 1 ? single(pictures[0]) : gallery(pictures.map(attachmentItem)), ...files.map(fileCard)];
}

const attachmentItem = (one) => ({
  url: one.url,
  alt: one.description || one.filename,
  spoiler: isSpoiler(one),
  width: one.width,
  height: one.height,
});

function single(attachment) {
  const size = shownSize(attachment.width, attachment.height);
  const style = { width: `${size.width}px`, "aspect-ratio": `${size.width} / ${size.height}` };
  return picture(attachmentItem(attachment), "picture single", style);
}

// items: [{url, alt, spoiler, width, height}]; up to ten, as Discord allows.
export function gallery(items) {
  if (!items.length) return null;
  if (items.length === 1)
    return single({
      ...items[0],
      filename: items[0].alt ?? "",
      description: items[0].alt,
      flags: items[0].spoiler ? FLAG.SPOILER_ATTACHMENT : 0,
    });
  const columns = items.length === 2 || items.length === 4 ? 2 : 3;
  return el(
    "div",
    { class: "gallery", data: { columns } },
    items.map((item) => picture(item, "picture")),
  );
}

export const galleryItem = ({ media, description, spoiler }) => ({
  url: media.proxy_url || media.url,
  alt: description ?? "",
  spoiler: Boolean(spoiler),
  width: media.width,
  height: media.height,
});

export function thumbnail({ media, description, spoiler }) {
  return picture({ url: media.proxy_url || media.url, alt: description ?? "", spoiler }, "picture thumbnail");
}

function picture(item, name, style = {}) {
  const address = localUrl(item.url);
  if (!address) return el("div", { class: `${name} broken`, style }, missing(item.alt));
  const image = el("img", {
    src: address,
    alt: item.alt || t("clickForAttachment"),
    loading: "lazy",
    draggable: "false",
  });
  const open = () => enlarge(address, item.alt);
  const button = el(
    "button",
    {
      type: "button",
      class: name,
      style,
      "aria-label": t("openPicture", { name: item.alt || t("clickForAttachment") }),
      on: { click: open },
    },
    image,
  );
  image.addEventListener("error", () => fill(button, missing(item.alt)));
  return item.spoiler ? veiled(button) : button;
}

function missing(alt) {
  return el(
    "span",
    { class: "missing" },
    icon("image", 24),
    el("span", {}, t("pictureUnavailable")),
    alt ? el("small", {}, alt) : null,
  );
}

// Covers a spoiler: the first click reveals it, the second enlarges it.
function veiled(button) {
  button.inert = true;
  const cover = el("button", { type: "button", class: "veil", "aria-label": t("reveal") }, t("spoiler"));
  const frame = el("div", { class: "veiled" }, button, cover);
  cover.addEventListener("click", () => {
    frame.classList.add("shown");
    button.inert = false;
    cover.remove();
  });
  return frame;
}

function fileCard(attachment) {
  const address = localUrl(attachment.url);
  const name = address
    ? el("a", { class: "link", href: address, download: attachment.filename }, attachment.filename)
    : attachment.filename;
  return el(
    "div",
    { class: "file-card" },
    icon("image", 28),
    el("div", {}, name, el("small", {}, fileSize(attachment.size ?? 0))),
  );
}

export function fileComponent({ file, spoiler, name, size }) {
  const card = fileCard({ url: file.url, filename: name ?? file.url.split("/").pop().split("?")[0], size: size ?? 0 });
  return spoiler ? veiled(card) : card;
}

export function enlarge(address, alt) {
  const dialog = el("dialog", { class: "lightbox", "aria-label": alt || t("clickForAttachment") });
  const close = iconButton("close", t("closePicture"), () => dialog.close());
  dialog.append(
    close,
    el(
      "figure",
      {},
      el("img", { src: address, alt: alt ?? "" }),
      el(
        "figcaption",
        {},
        alt ?? "",
        " ",
        el("a", { class: "link", href: address, target: "_blank", rel: "noopener" }, t("openOriginal")),
      ),
    ),
  );
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
