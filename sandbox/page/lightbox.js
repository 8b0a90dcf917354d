// A picture in full size, with the other pictures of its message: arrow keys, Home, End, Escape.
import { el, fill, icon, iconButton } from "./dom.js";
import { t } from "./texts.js";

// pictures: [{address, alt}] of one message, without those that are covered.
export function openLightbox(pictures, first) {
  let at = first;
  const figure = el("figure", { "aria-live": "polite" });
  const dialog = el("dialog", { class: "lightbox" });
  const show = (index) => {
    at = (index + pictures.length) % pictures.length;
    dialog.setAttribute("aria-label", nameOf(pictures[at]));
    fill(figure, content(pictures, at));
  };
  const keys = {
    ArrowLeft: () => show(at - 1),
    ArrowRight: () => show(at + 1),
    Home: () => show(0),
    End: () => show(pictures.length - 1),
  };
  dialog.append(
    el(
      "div",
      { class: "lightbox-tools" },
      pictures.length > 1
        ? [
            iconButton("back", t("previousPicture"), () => show(at - 1)),
            iconButton("next", t("nextPicture"), () => show(at + 1)),
          ]
        : null,
      iconButton("close", t("closePicture"), () => dialog.close()),
    ),
    figure,
  );
  dialog.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  show(first);
  document.body.append(dialog);
  dialog.showModal();
}

const nameOf = (picture) => picture.alt || t("clickForAttachment");

function content(pictures, at) {
  const picture = pictures[at];
  const place = t("pictureOf", { at: at + 1, all: pictures.length });
  return [
    el("img", { src: picture.address, alt: nameOf(picture) }),
    el(
      "figcaption",
      {},
      pictures.length > 1 ? el("span", { class: "lightbox-place" }, place) : null,
      picture.alt ? el("span", {}, picture.alt) : null,
      el(
        "a",
        { class: "link", href: picture.address, target: "_blank", rel: "noopener" },
        t("openOriginal"),
        icon("out", 15),
      ),
    ),
  ];
}
