// DOM builders. Data only becomes text or attributes, never markup.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) assign(node, name, value);
  node.append(...flat(children));
  return node;
}

function assign(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "on") {
    for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
  } else if (name === "data") {
    Object.assign(node.dataset, value);
  } else if (name === "style") {
    for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  } else if (name === "class") {
    node.className = value;
  } else if (name === "value") {
    node.value = value;
  } else {
    node.setAttribute(name, value === true ? "" : String(value));
  }
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

export function fill(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

export const byId = (id) => document.getElementById(id);

const SHAPES = {
  hash: ["M9 4 7 20", "M17 4l-2 16", "M4.5 9h16", "M3.5 15h16"],
  lock: ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 7 0v3"],
  thread: ["M4 5h16v11h-8l-5 4v-4H4z", "M8 9h8", "M8 12.5h5"],
  threadLock: ["M4 5h16v11h-8l-5 4v-4H4z", "M9.5 10.5h5v3h-5z", "M10.5 10.5V9a1.5 1.5 0 0 1 3 0v1.5"],
  voice: ["M4 9.5h3.5L12 5.5v13l-4.5-4H4z", "M15.5 9a4 4 0 0 1 0 6", "M18 6.5a8 8 0 0 1 0 11"],
  adult: ["M12 3.5 21 19.5H3z", "M12 9.5v5", "M12 17v.2"],
  reply: ["M10 6 4 12l6 6", "M4.5 12H14c4 0 6 2.5 6 6.5"],
  forward: ["m14 6 6 6-6 6", "M19.5 12H10c-4 0-6 2.5-6 6.5"],
  dots: ["M6 12h.01", "M12 12h.01", "M18 12h.01"],
  plus: ["M12 5v14", "M5 12h14"],
  close: ["m6 6 12 12", "M18 6 6 18"],
  send: ["M4 12 20 4l-5 16-3.5-6.5z", "M11.5 13.5 20 4"],
  edit: ["M4 20l1-4L16 5l3 3L8 19z"],
  trash: ["M5 7h14", "M9.5 7V4.5h5V7", "m6.5 7 1 13h9l1-13"],
  link: [
    "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L11.7 7.3",
    "M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.6-1.6",
  ],
  image: ["M4 5h16v14H4z", "m4.5 17 5-5 4 4 2.5-2.5 4 4", "M15.5 9.5h.01"],
  smile: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M9 10h.01", "M15 10h.01", "M8.5 14a4.5 4.5 0 0 0 7 0"],
  apps: ["M5 5h5v5H5z", "M14 5h5v5h-5z", "M5 14h5v5H5z", "M16.5 14v5", "M14 16.5h5"],
  down: ["m6 9.5 6 6 6-6"],
  back: ["m14.5 6-6 6 6 6"],
  next: ["m9.5 6 6 6-6 6"],
  file: ["M7 3.5h7l4.5 4.5v12.5H7z", "M14 3.5V8h4.5"],
  out: ["M13 5h6v6", "m19 5-9 9", "M17 14v5H5V7h5"],
  menu: ["M4 7h16", "M4 12h16", "M4 17h16"],
  check: ["m5 12.5 4.5 4.5L19 7.5"],
  eye: [
    "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z",
    "M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  ],
};

export function icon(name, size = 20) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    width: size,
    height: size,
    "aria-hidden": "true",
  })) {
    svg.setAttribute(key, value);
  }
  svg.classList.add("icon");
  for (const shape of SHAPES[name]) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

// A button with an icon only; its label is for screen readers and the tooltip.
export function iconButton(name, label, onClick, more = {}) {
  return el(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, on: { click: onClick }, ...more },
    icon(name),
  );
}
