// Keeps the keyboard focus, and the place on the screen, of somebody whose message is drawn anew.

const CONTROLS = "button, a[href], input, textarea, select, [tabindex]";

// True if the message had the focus.
export function replaceKeepingFocus(old, fresh, scroller) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  if (!focused) {
    old.replaceWith(fresh);
    return false;
  }
  const traits = [focused.dataset.customId, nameOf(focused)];
  const place = controls(old).indexOf(focused);
  const height = focused.getBoundingClientRect().top;
  old.replaceWith(fresh);
  const heir = twin(fresh, focused, traits) ?? neighbour(fresh, place);
  heir.focus({ preventScroll: true });
  scroller.scrollTop += heir.getBoundingClientRect().top - height;
  return true;
}

const controls = (node) => [...node.querySelectorAll(CONTROLS)];

const nameOf = (node) => node.getAttribute("aria-label") || node.textContent;

// The same control: by the id that its application gave it, otherwise by what it is called ("Next" has a new id on each page).
function twin(fresh, focused, [customId, name]) {
  const usable = controls(fresh).filter((node) => !node.disabled && node.tagName === focused.tagName);
  return (
    (customId && usable.find((node) => node.dataset.customId === customId)) ||
    usable.find((node) => nameOf(node) === name)
  );
}

// What stands where the control was; a message without controls takes the focus itself.
function neighbour(fresh, place) {
  const all = controls(fresh);
  const near = [...all.slice(0, place + 1).reverse(), ...all.slice(place + 1)].find((node) => !node.disabled);
  if (near) return near;
  fresh.tabIndex = -1;
  return fresh;
}
