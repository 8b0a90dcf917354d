// The dialog that asks before something is deleted.
import { el } from "./dom.js";
import { t } from "./texts.js";

// Resolves to true if the user confirmed.
export function confirm(title, explained, action) {
  return new Promise((resolve) => {
    const answer = (value) => () => {
      dialog.returnValue = value;
      dialog.close();
    };
    const dialog = el(
      "dialog",
      { class: "sheet", "aria-label": title },
      el("h2", {}, title),
      el("p", {}, explained),
      el(
        "div",
        { class: "sheet-foot" },
        el("button", { type: "button", class: "c-button secondary", on: { click: answer("") } }, t("cancel")),
        el(
          "button",
          { type: "button", class: "c-button danger", autofocus: true, on: { click: answer("yes") } },
          action,
        ),
      ),
    );
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  });
}
