// What is wrong with an entered value, as a sentence that says what to do; null if nothing is.
import { t } from "./texts.js";

export function lengthProblem(text, low, high) {
  const length = [...text].length;
  if (low && length < low) return t("tooShort", { low, length });
  if (high && length > high) return t("tooLong", { high, length });
  return null;
}

export function countProblem(count, low, high) {
  if (count < low) return t("tooFew", { low });
  if (count > high) return t("tooMany", { high });
  return null;
}

export function numberProblem(text, { low, high, whole }) {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return t("noNumber");
  if (whole && !Number.isSafeInteger(value)) return t("noWholeNumber");
  if (low !== undefined && value < low) return t("tooLow", { low });
  if (high !== undefined && value > high) return t("tooHigh", { high });
  return null;
}
