// The command index as a list of entries, and option values nested as in Discord's API. Pure functions.
import { localised } from "./texts.js";

export const OPTION = {
  SUBCOMMAND: 1,
  GROUP: 2,
  STRING: 3,
  INTEGER: 4,
  BOOLEAN: 5,
  USER: 6,
  CHANNEL: 7,
  ROLE: 8,
  MENTIONABLE: 9,
  NUMBER: 10,
  ATTACHMENT: 11,
};
export const COMMAND = { SLASH: 1, USER: 2, MESSAGE: 3 };

const kind = (command) => command.type ?? COMMAND.SLASH;

// One entry for each command or subcommand: groups become names such as "labels add".
export function slashEntries(commands) {
  return commands
    .filter((command) => kind(command) === COMMAND.SLASH)
    .flatMap((command) => unfold(command, command, [], localised(command, "name"), command.name));
}

function unfold(command, node, path, label, name) {
  const nested = (node.options ?? []).filter(
    (option) => option.type === OPTION.SUBCOMMAND || option.type === OPTION.GROUP,
  );
  if (!nested.length)
    return [{ command, path, name, label, description: localised(node, "description"), options: node.options ?? [] }];
  return nested.flatMap((inner) =>
    unfold(
      command,
      inner,
      [...path, { type: inner.type, name: inner.name }],
      `${label} ${localised(inner, "name")}`,
      `${name} ${inner.name}`,
    ),
  );
}

export const messageCommands = (commands) => commands.filter((command) => kind(command) === COMMAND.MESSAGE);

// The suggestions for "/fi": names that start with it first, then names that contain it; otherwise as the application
// registered them, which is the same order in each language.
export function matching(entries, typed) {
  const wanted = typed.replace(/^\//, "").trimStart().toLowerCase();
  const rank = (entry) => Math.min(...[entry.label, entry.name].map((name) => place(name.toLowerCase(), wanted)));
  return entries
    .map((entry) => [rank(entry), entry])
    .filter(([at]) => at < 2)
    .sort(([a], [b]) => a - b)
    .map(([, entry]) => entry);
}

function place(name, wanted) {
  if (name.startsWith(wanted)) return 0;
  return wanted && name.includes(wanted) ? 1 : 2;
}

// "/find a cat" -> the entry and the text after its name; null until a whole name has been typed.
export function completeCommand(entries, text) {
  const longestFirst = [...entries].sort((a, b) => b.name.length - a.name.length);
  for (const entry of longestFirst) {
    for (const name of [entry.name, entry.label]) {
      const start = `/${name}`;
      if (text.toLowerCase().startsWith(`${start.toLowerCase()} `))
        return { entry, rest: text.slice(start.length + 1).trimStart() };
    }
  }
  return null;
}

// values: Map of option name -> value. focused: the option being typed, for autocomplete.
export function nestOptions(entry, values, focused = null) {
  const given = entry.options
    .filter((option) => values.has(option.name) || option.name === focused)
    .map((option) => {
      const filled = { type: option.type, name: option.name, value: typed(option, values.get(option.name) ?? "") };
      return option.name === focused ? { ...filled, focused: true } : filled;
    });
  return [...entry.path].reverse().reduce((options, node) => [{ ...node, options }], given);
}

function typed(option, value) {
  if (option.type === OPTION.BOOLEAN) return value === true || value === "true";
  if ((option.type === OPTION.INTEGER || option.type === OPTION.NUMBER) && value !== "" && !Number.isNaN(Number(value)))
    return Number(value);
  return value;
}
