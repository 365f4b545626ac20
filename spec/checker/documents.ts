import { Decimal128, Long } from "mongodb";
import type { Random } from "./random.js";

export const collections = ["items", "blind", "open", "fleeting", "elsewhere"] as const;
/** All but `blind` have pre-images; `fleeting` is dropped now and then; no interface shows `elsewhere`. */
export type CollectionName = (typeof collections)[number];

export const hasImages = (collection: CollectionName): boolean => collection !== "blind";

/**
 * Whether its documents are replaced, never updated. The event of a replacement carries the document as it then was; that of an
 * update may show a later state, on SecantusDB even from a collection with post-images.
 */
export const isExact = (collection: CollectionName): boolean => collection === "open" || collection === "fleeting";

/** A document that says who wrote it, which of that writer's it is, and how often it has been written. */
export interface Stamped {
  readonly _id: string;
  readonly w: number;
  readonly n: number;
  readonly v: number;
  readonly owner: string;
  readonly group: string;
  /** Outside of every rule. */
  readonly canary: boolean;
  readonly score: number;
  readonly tags: readonly string[];
  /** Names the document and its version, to be found in whatever a client receives. */
  readonly body: string;
  /** No interface shows it. */
  readonly hidden: string;
  readonly at: Date;
  readonly amount: Decimal128;
  readonly big: Long;
  readonly place: { readonly city: string; readonly street: string };
}

export const owners = ["ann", "bob", "nobody"] as const;
export const groups = ["a", "b", "c", "z"] as const;
const cities = ["Ulm", "Jena", "Kiel"] as const;

/** What a write may change. Everybody who writes a document stamps it anew. */
export type Contents = Omit<Stamped, "_id" | "w" | "n" | "v" | "body" | "hidden">;

/** @param padding - what the body has after its stamp */
export function stamped(
  id: { _id: string; w: number; n: number },
  v: number,
  contents: Contents,
  padding: string,
): Stamped {
  const { _id } = id;
  const stamps = { body: `body:${_id}:${v};${padding}`, hidden: `hidden:${_id}:${v};` };
  return { ...contents, ...id, v, ...stamps, place: { ...contents.place, street: `hidden:${_id}:${v};` } };
}

export function randomContents(random: Random): Contents {
  const canary = random.chance(0.15);
  return {
    owner: canary ? "nobody" : random.pick(owners),
    group: canary ? "z" : random.pick(groups),
    canary,
    score: random.below(100),
    tags: random.pick([[], ["x"], ["y"], ["x", "y"]]),
    at: new Date(1_700_000_000_000 + random.below(1_000_000_000)),
    amount: Decimal128.fromString(`${random.below(1_000)}.${random.below(100)}`),
    big: Long.MAX_VALUE.subtract(random.below(1_000)),
    place: { city: random.pick(cities), street: "" },
  };
}

/** Ids that stand in a text that a client has received. */
export function idsIn(text: string): Set<string> {
  return new Set(text.match(/id-[a-z]+-\d+-\d+-[0-9a-z]+/g) ?? []);
}

/** Bodies that stand in such a text: whose they are, and of which version. */
export function* bodiesIn(text: string): Generator<{ id: string; v: number }> {
  for (const [, id, v] of text.matchAll(/body:(id-[^:]+):(\d+);/g)) yield { id: id as string, v: Number(v) };
}

export const showsHidden = (text: string): boolean => text.includes("hidden:");
