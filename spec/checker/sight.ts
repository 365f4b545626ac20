import { bodiesIn, idsIn, showsHidden } from "./documents.js";
import type { Findings } from "./findings.js";
import type { Ledger } from "./ledger.js";
import type { Row } from "./replica.js";
import { maySee, type User, type Wanted } from "./views.js";

/** Looks through all that one user's clients receive for what they may not see. */
export class Sight {
  readonly #user: User | null;
  readonly #ledger: Ledger;
  readonly #findings: Findings;
  /** Ids that it is known to be allowed to know: they stay so. */
  readonly #known = new Set<string>();

  constructor(user: User | null, ledger: Ledger, findings: Findings) {
    this.#user = user;
    this.#ledger = ledger;
    this.#findings = findings;
  }

  /**
   * Looks at a text as it came, whatever it is.
   *
   * @param or - who the user may be as well: while a token is being renewed, the one before it may still count
   */
  look(who: string, text: string, or?: Sight): void {
    if (showsHidden(text)) this.#findings.add("leak", who, `a hidden field: ${text}`);
    for (const id of idsIn(text))
      if (!this.mayKnow(id) && !or?.mayKnow(id)) this.#findings.add("leak", who, `the id ${id}: ${text}`);
    for (const { id, v } of bodiesIn(text))
      if (!this.maySee(id, v) && !or?.maySee(id, v)) this.#findings.add("leak", who, `version ${v} of ${id}: ${text}`);
  }

  /** Looks at a document that came as one of a view. */
  inView(who: string, wanted: Wanted, row: Row): void {
    if (typeof row.v !== "number") return;
    const document = this.#ledger.version(row.id, row.v);
    if (document === undefined || !wanted.has(document))
      this.#findings.add("outside", who, `${JSON.stringify(row)} is not of ${JSON.stringify(wanted.query)}`);
  }

  /** Looks at an id that is said to have left a view: it has to have been in it. */
  outOfView(who: string, wanted: Wanted, id: string): void {
    for (const document of this.#ledger.triedOf(id)) if (wanted.has(document)) return;
    this.#findings.add("outside", who, `delete of ${id}, which never was of ${JSON.stringify(wanted.query)}`);
  }

  maySee(id: string, v: number): boolean {
    const document = this.#ledger.version(id, v);
    const collection = this.#ledger.collectionOf(id);
    return document !== undefined && collection !== undefined && maySee(this.#user, collection, document);
  }

  mayKnow(id: string): boolean {
    if (this.#known.has(id)) return true;
    const collection = this.#ledger.collectionOf(id);
    if (collection === undefined) return false;
    for (const document of this.#ledger.triedOf(id)) {
      if (!maySee(this.#user, collection, document)) continue;
      this.#known.add(id);
      return true;
    }
    return false;
  }
}
