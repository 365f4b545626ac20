import { isDeepStrictEqual } from "node:util";
import type { Db } from "mongodb";
import { isExact, type Stamped } from "./documents.js";
import type { Findings } from "./findings.js";
import { rowOf } from "./json.js";
import type { Ledger } from "./ledger.js";
import type { Epoch, Replica, Row, Taken } from "./replica.js";
import type { Wanted } from "./views.js";

/**
 * @param toldOf - the documents that it was told of, where it does not have to have others
 * @returns what differs between a copy and what the database has of the view
 */
export async function differences(
  db: Db,
  wanted: Wanted,
  rows: ReadonlyMap<string, Row>,
  toldOf?: ReadonlySet<string>,
): Promise<string[]> {
  const found = await db
    .collection(wanted.collection)
    .find(wanted.query)
    .project({ _id: 1, ...wanted.projection })
    .toArray();
  const expected = new Map(found.map((document) => [String(document._id), rowOf(document)]));
  const told: string[] = [];
  for (const id of toldOf ?? new Set([...expected.keys(), ...rows.keys()])) {
    const [wants, has] = [expected.get(id), rows.get(id)];
    if (isDeepStrictEqual(wants, has)) continue;
    told.push(`${id}: the database has ${JSON.stringify(wants)}, the copy ${JSON.stringify(has)}`);
  }
  return told;
}

/**
 * Compares what a client took with what happened, document by document: nothing left out, nothing twice, each for what it
 * was. It needs the versions, and a collection without updates: else the gateway may tell a later state instead of one that passed.
 *
 * @returns how many documents were compared
 */
export function checkEpochs(replica: Replica, ledger: Ledger, findings: Findings): number {
  const { epochs, who } = replica;
  const { showsVersion, collection } = replica.wanted;
  if (!showsVersion || !isExact(collection)) return 0;
  let compared = 0;
  for (const [id, states] of ledger.histories(collection)) {
    for (const epoch of epochs) {
      const events = eventsOf(epoch.wanted, states);
      // What was dropped did not go one by one.
      const isLast = epoch === epochs.at(-1) && collection !== "fleeting";
      const began = epoch.rows.get(id);
      const { liveSince = Number.POSITIVE_INFINITY } = epoch;
      const isAfterBeginning = (v: number): boolean =>
        began === undefined ? ledger.isAfter(id, v, liveSince) : v > began;
      const problem = problemWith(events, epoch.taken.get(id) ?? [], isAfterBeginning, isLast);
      compared += 1;
      if (problem !== undefined) findings.add("lost", who, `${id}: ${problem}${storyOf(id, epoch, events)}`);
    }
  }
  return compared;
}

/** What the view's audience is to be told of a document, one after another. */
function eventsOf(wanted: Wanted, states: readonly (Stamped | undefined)[]): Taken[] {
  const events: Taken[] = [];
  let was = false;
  for (const state of states) {
    const is = state !== undefined && wanted.has(state);
    if (is) events.push({ operation: was ? "update" : "insert", v: state.v });
    else if (was) events.push({ operation: "delete" });
    was = is;
  }
  return events;
}

/**
 * A snapshot may be newer than the position that it is given for, so that the first changes after it may be told in other words;
 * from the first version on that was told all has to be exact.
 */
function problemWith(
  events: readonly Taken[],
  taken: readonly Taken[],
  isAfterBeginning: (v: number) => boolean,
  isLast: boolean,
): string | undefined {
  const firstTold = taken.findIndex((each) => each.operation !== "delete");
  const first = taken[firstTold];
  const versionOf = (each: Taken): number => (each.operation === "delete" ? 0 : each.v);
  // Without a row at the beginning, and without a word, there is nothing to hang the sequence on: the copies are compared.
  if (first === undefined) {
    const isBehind = isLast && taken.length === 0 && events.some((each) => isAfterBeginning(versionOf(each)));
    return isBehind ? "nothing was told of what came after its beginning" : undefined;
  }
  const place = events.findIndex((each) => versionOf(each) === versionOf(first));
  if (place < 0) return `version ${versionOf(first)} was told, and never was`;
  const next = events.find((each) => isAfterBeginning(versionOf(each)));
  if (next !== undefined && versionOf(next) < versionOf(first)) return `version ${versionOf(next)} was not told`;
  const rest = taken.slice(firstTold + 1);
  for (const [index, each] of rest.entries()) {
    const expected = events[place + 1 + index];
    if (!isDeepStrictEqual(each, expected))
      return `${JSON.stringify(each)} was told instead of ${JSON.stringify(expected)}`;
  }
  const left = events.slice(place + 1 + rest.length);
  return isLast && left.length > 0 ? `was not told: ${JSON.stringify(left)}` : undefined;
}

function storyOf(id: string, epoch: Epoch, events: readonly Taken[]): string {
  return `; began with ${epoch.rows.get(id)}; told ${JSON.stringify(epoch.taken.get(id))}; was ${JSON.stringify(events)}`;
}
