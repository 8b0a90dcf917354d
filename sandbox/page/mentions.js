// Converts between "@Magpie", as people write it, and "<@id>", as Discord sends it. people: [{user}] of the guild.
import { nameOf } from "./people.js";

export function mentionsToIds(text, people) {
  const longestFirst = people.map(({ user }) => [nameOf(user), user.id]).sort(([a], [b]) => b.length - a.length);
  return longestFirst.reduce((whole, [name, id]) => whole.replaceAll(`@${name}`, `<@${id}>`), text);
}

export function idsToMentions(text, people) {
  const names = new Map(people.map(({ user }) => [user.id, nameOf(user)]));
  return text.replace(/<@!?(\d+)>/g, (whole, id) => (names.has(id) ? `@${names.get(id)}` : whole));
}
