import type { Document } from "mongodb";
import type { CollectionName, Stamped } from "./documents.js";
import type { Random } from "./random.js";

export interface User {
  readonly sub: string;
  readonly groups: readonly string[];
}

/** Who connects; null is anonymous. */
export const users: readonly (User | null)[] = [
  { sub: "ann", groups: ["a"] },
  { sub: "bob", groups: ["a", "b"] },
  null,
];

const groupChoices: readonly User["groups"][] = [["a"], ["b"], ["c"], ["a", "b"]];

/** What the same user's next token may say: a rule by groups then means another view. */
export function otherClaims({ sub, groups }: User, random: Random): User {
  return { sub, groups: random.pick(groupChoices.filter((each) => String(each) !== String(groups))) };
}

/** A condition twice: as the gateway and the server take it, and as it is meant. */
interface Condition {
  readonly query: Document;
  readonly holds: (document: Stamped) => boolean;
}

interface Interface {
  readonly collection: CollectionName;
  /** As the configuration has it. */
  readonly read: unknown;
  /** The same for one user: null where that user may read nothing. */
  readonly rule: (user: User | null) => Condition | null;
}

const everything: Condition = { query: {}, holds: () => true };
const noCanaries: Condition = { query: { canary: { $ne: true } }, holds: (document) => !document.canary };

const ofAll = (collection: CollectionName): Interface => ({ collection, read: true, rule: () => everything });
const butCanaries = (collection: CollectionName): Interface => ({
  collection,
  read: noCanaries.query,
  rule: () => noCanaries,
});
const ofOwner = (collection: CollectionName): Interface => ({
  collection,
  read: { owner: "$user.sub" },
  rule: (user) => user && { query: { owner: user.sub }, holds: (document) => document.owner === user.sub },
});
const ofGroups = (collection: CollectionName): Interface => ({
  collection,
  read: { group: { $in: "$user.groups" } },
  rule: (user) =>
    user && { query: { group: { $in: user.groups } }, holds: (document) => user.groups.includes(document.group) },
});

export const interfaces = {
  shared: butCanaries("items"),
  mine: ofOwner("items"),
  team: ofGroups("items"),
  blindly: butCanaries("blind"),
  "blindly-mine": ofOwner("blind"),
  open: ofAll("open"),
  "open-mine": ofOwner("open"),
  "open-team": ofGroups("open"),
  fleeting: ofAll("fleeting"),
} as const satisfies Record<string, Interface>;

export type InterfaceName = keyof typeof interfaces;
export const interfaceNames = Object.keys(interfaces) as InterfaceName[];

const shown = ["w", "n", "v", "owner", "group", "score", "tags", "body", "at", "amount", "big", "place.city"];
const fieldChoices: readonly (readonly string[] | undefined)[] = [
  undefined,
  undefined,
  ["v", "score", "body"],
  ["group", "at"],
  ["v", "body", "place.city"],
];

const filters: readonly Condition[] = [
  everything,
  { query: { group: "a" }, holds: ({ group }) => group === "a" },
  { query: { score: { $gte: 50 } }, holds: ({ score }) => score >= 50 },
  {
    query: { group: { $in: ["a", "b"] }, score: { $lt: 70 } },
    holds: ({ group, score }) => (group === "a" || group === "b") && score < 70,
  },
  { query: { tags: "x" }, holds: ({ tags }) => tags.includes("x") },
  { query: { "place.city": "Ulm" }, holds: ({ place }) => place.city === "Ulm" },
];

/** Of all documents or of many. */
const largeFilters = [everything, everything, ...filters.slice(0, 3)];

/** The settings `interfaces` of a gateway. */
export function interfaceSettings(): Document {
  return Object.fromEntries(
    Object.entries(interfaces).map(([name, { collection, read }]) => [name, { collection, read, fields: shown }]),
  );
}

/** What one subscription is of, as it is asked for and as it is meant. */
export interface Wanted {
  readonly interface: InterfaceName;
  readonly collection: CollectionName;
  /** As the client asks for it. */
  readonly filter: Document;
  readonly fields: readonly string[] | undefined;
  /** Filter and rule, for `find`. */
  readonly query: Document;
  /** Of the shown fields, for `find`. */
  readonly projection: Document;
  /** Whether it has a filter or a rule: without pre-images a replay may then be refused. */
  readonly isFiltered: boolean;
  /** Whether rows show `v`, and so can be told apart. */
  readonly showsVersion: boolean;
  /** Filter and rule. */
  readonly has: (document: Stamped) => boolean;
  /** What is asked for: subscriptions of one client with the same have one view, or would have by the same claims. */
  readonly asked: string;
  /** The same for who sees the same. */
  readonly key: string;
  /** What the same subscription is of for another user, or for other claims. */
  readonly as: (user: User | null) => Wanted;
}

export function wanted(
  name: InterfaceName,
  user: User | null,
  filter: Condition = everything,
  fields?: readonly string[],
): Wanted {
  const { collection, rule } = interfaces[name] as Interface;
  const condition = rule(user);
  if (condition === null) throw new Error(`${user?.sub ?? "nobody"} may not read ${name}`);
  const projected = fields ?? shown;
  const query = { $and: [filter.query, condition.query] };
  return {
    interface: name,
    collection,
    filter: filter.query,
    fields,
    query,
    projection: Object.fromEntries(projected.map((path) => [path, 1])),
    isFiltered: filter !== everything || condition !== everything,
    showsVersion: projected.includes("v"),
    has: (document) => filter.holds(document) && condition.holds(document),
    asked: JSON.stringify([name, filter.query, fields]),
    key: JSON.stringify([name, query, fields]),
    as: (other) => wanted(name, other, filter, fields),
  };
}

export function randomWanted(random: Random, user: User | null, names: readonly InterfaceName[]): Wanted {
  const readable = names.filter((name) => (interfaces[name] as Interface).rule(user) !== null);
  return wanted(random.pick(readable), user, random.pick(filters), random.pick(fieldChoices));
}

/** What everybody may read of all documents, and not the view of the witnesses. */
export const largestWanted = wanted("open", null, everything, ["v", "score", "body"]);

/** One that has much to tell: with the bodies, of all documents or of many. */
export function largeWanted(random: Random, user: User | null, names: readonly InterfaceName[]): Wanted {
  const readable = names.filter((name) => (interfaces[name] as Interface).rule(user) !== null);
  const fields = random.pick(fieldChoices.filter((each) => each?.includes("body") ?? true));
  return wanted(random.pick(readable), user, random.pick(largeFilters), fields);
}

/** Whether any interface shows the document, as it is in this state, to the user. */
export function maySee(user: User | null, collection: CollectionName, document: Stamped): boolean {
  return Object.values<Interface>(interfaces).some(
    (each) => each.collection === collection && (each.rule(user)?.holds(document) ?? false),
  );
}
