// Images: attachments, galleries, thumbnails, files, and the covers of spoilers.
import { el, fill, icon } from "./dom.js";
import { fileSize, localUrl } from "./format.js";
import { openLightbox } from "./lightbox.js";
import { FLAG, isImage } from "./state.js";
import { t } from "./texts.js";

// The box into which Discord's client fits a picture that stands alone.
const WIDEST = 550;
const HIGHEST = 350;
const SMALLEST = 180;

// Spoilers that this reader has uncovered stay so while their message is drawn anew.
const revealed = new Set();

export const coverAgain = () => revealed.clear();

// Fits the image into the box; small images, such as the sample scenes, are enlarged.
export function shownSize(width, height) {
  if (!width || !height) return { width: SMALLEST, height: SMALLEST };
  const fit = Math.min(WIDEST / width, HIGHEST / height);
  const scale = Math.min(fit, Math.max(1, SMALLEST / Math.max(width, height)));
  return { width: Math.round(width * scale), height: Math.round(height * scale) };
}

const isSpoiler = (attachment) =>
  Boolean((attachment.flags ?? 0) & FLAG.SPOILER_ATTACHMENT) || attachment.filename.startsWith("SPOILER_");

export function attachments(list, messageId) {
  const pictures = list.filter(isImage).map((one) => ({
    url: one.url,
    alt: one.description || one.filename,
    spoiler: isSpoiler(one),
    width: one.width,
    height: one.height,
  }));
  const files = list.filter((one) => !isImage(one));
  return [gallery(pictures, messageId), ...files.map((one) => fileCard(one))];
}

// Up to ten pictures in the grid that Discord uses for their number (components.css). items: [{url, alt, spoiler, width, height}]
export function gallery(items, messageId) {
  if (!items.length) return null;
  const tiles = items.map((item) => new Picture(item, messageId));
  for (const tile of tiles) tile.together = tiles;
  if (tiles.length > 1)
    return el(
      "div",
      { class: "gallery", data: { count: tiles.length } },
      tiles.map((tile) => tile.node),
    );
  const size = shownSize(items[0].width, items[0].height);
  tiles[0].node.classList.add("single");
  tiles[0].node.style.setProperty("width", `${size.width}px`);
  tiles[0].node.style.setProperty("aspect-ratio", `${size.width} / ${size.height}`);
  return tiles[0].node;
}

export const galleryItem = ({ media, description, spoiler }) => ({
  url: media.proxy_url || media.url,
  alt: description ?? "",
  spoiler: Boolean(spoiler),
  width: media.width,
  height: media.height,
});

export function thumbnail(component, messageId) {
  const { node } = new Picture(galleryItem(component), messageId);
  node.classList.add("thumbnail");
  return node;
}

// A button that enlarges the picture; under a cover if it is a spoiler, or a note if it cannot be loaded.
class Picture {
  together = [this];
  #address;
  #alt;
  #covered = false;

  constructor(item, messageId) {
    this.#address = localUrl(item.url);
    this.#alt = item.alt;
    const button = this.#address ? this.#button() : el("span", { class: "picture-face" }, missing(item.alt));
    const key = `${messageId} ${this.#address?.split("?")[0]}`;
    this.#covered = Boolean(item.spoiler && this.#address) && !revealed.has(key);
    this.node = el("div", { class: this.#address ? "picture" : "picture broken" }, button);
    if (!this.#covered) return;
    cover(this.node, () => {
      this.#covered = false;
      revealed.add(key);
    });
  }

  #button() {
    const name = this.#alt || t("clickForAttachment");
    const image = el("img", { src: this.#address, alt: name, loading: "lazy", draggable: "false" });
    const button = el(
      "button",
      {
        type: "button",
        class: "picture-face",
        "aria-label": t("openPicture", { name }),
        title: this.#alt || null,
        on: { click: () => this.#enlarge() },
      },
      image,
    );
    image.addEventListener("error", () => {
      this.#address = null;
      button.replaceWith(el("span", { class: "picture-face" }, missing(this.#alt)));
    });
    return button;
  }

  #enlarge() {
    const open = this.together.filter((one) => one.#address && !one.#covered);
    openLightbox(
      open.map((one) => ({ address: one.#address, alt: one.#alt })),
      open.indexOf(this),
    );
  }
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

// Covers the node's content until somebody wants to see it; what is below can neither be seen nor reached by keyboard.
export function cover(node, onReveal = () => {}) {
  const hidden = el("div", { class: "veiled", inert: true }, ...node.childNodes);
  const veil = el("button", { type: "button", class: "veil", "aria-label": t("reveal") }, t("spoiler"));
  veil.addEventListener("click", () => {
    const hadFocus = veil === document.activeElement;
    onReveal();
    fill(node, ...hidden.childNodes);
    if (hadFocus) node.querySelector("button, a")?.focus({ preventScroll: true });
  });
  fill(node, hidden, veil);
  return node;
}

function fileCard(attachment) {
  const address = localUrl(attachment.url);
  const name = address
    ? el("a", { class: "link", href: address, download: attachment.filename }, attachment.filename)
    : attachment.filename;
  const size = attachment.size ? el("small", {}, fileSize(attachment.size)) : null;
  return el("div", { class: "file-card" }, icon("file", 28), el("div", {}, name, size));
}

export function fileComponent({ file, spoiler, name, size }) {
  const card = fileCard({ url: file.url, filename: name ?? file.url.split("/").pop().split("?")[0], size });
  return spoiler ? cover(el("div", { class: "file-cover" }, card)) : card;
}
