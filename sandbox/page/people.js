// Avatars and names. Avatars are drawn: a coloured disc with an initial, a bird for the bot.
import { el } from "./dom.js";
import { hue } from "./format.js";
import { t } from "./texts.js";

export const nameOf = (user) => user?.global_name || user?.display_name || user?.username || t("unknownUser");

export function avatar(user, size) {
  const style = { "--size": `${size}px`, "--hue": hue(user?.id ?? "0") };
  if (user?.bot)
    return el("span", { class: "avatar bot", style, "aria-hidden": "true" }, el("img", { src: "magpie.svg", alt: "" }));
  return el("span", { class: "avatar", style, "aria-hidden": "true" }, [...nameOf(user)][0].toUpperCase());
}
