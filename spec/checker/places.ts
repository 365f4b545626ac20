import { isExact } from "./documents.js";
import type { Findings } from "./findings.js";
import type { Message, Row } from "./replica.js";
import type { Wanted } from "./views.js";

/**
 * Where each version of a document stands in the history, as it was told: the same to everybody, live and in a replay, by every
 * gateway, before and after its restart (S16). If not, a `since` of one gateway leaves something out on another.
 */
export class Places {
  readonly #places = new Map<string, { position: string; who: string }>();
  readonly #findings: Findings;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  look(who: string, wanted: Wanted, { operation, data, position }: Message): void {
    // A list of deletes stands where its last one does, and where the lists are parted is chance.
    if (operation === "delete" || !isExact(wanted.collection)) return;
    const { id, v } = data as Row;
    if (typeof v !== "number") return;
    const key = `version ${v} of ${id}`;
    const told = this.#places.get(key);
    if (told === undefined) this.#places.set(key, { position: position as string, who });
    else if (told.position !== position)
      this.#findings.add("place", who, `${key} is told at ${position}, to ${told.who} it was at ${told.position}`);
  }
}
