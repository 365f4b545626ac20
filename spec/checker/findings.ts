/** What kinds of promises can be broken. */
export type Kind =
  /** A message was missed while a connection lasted, or `previous` says so without reason. */
  | "gap"
  /** A message came again, or one after a later one. */
  | "doubled"
  /** What a client took of a document is not what happened to it, though no `reset` came. */
  | "lost"
  /** One and the same change is told at two positions. */
  | "place"
  /** An id, or the contents of a document, that this client may not see; or a hidden field. */
  | "leak"
  /** A document that the user may see, but that the view does not have. */
  | "outside"
  /** The copy is another than what the database has. */
  | "differs"
  /** A `reset` without a good reason. */
  | "reset"
  /** A close code without a good reason. */
  | "close"
  /** An `error` other than that the database is away. */
  | "error"
  /** A message that is none, or not in its turn. */
  | "protocol"
  /** It went quiet, and a client was not told so in time. */
  | "not settled"
  /** Something was tried again faster than once a second. */
  | "retry loop"
  /** A gateway ended by itself. */
  | "crash"
  /** All clients have left, and the gateway has not noticed. */
  | "left over";

export interface Finding {
  readonly kind: Kind;
  readonly who: string;
  readonly detail: string;
}

const mostFindings = 500;
/** Of a document that is padded, a part says enough. */
const mostCharacters = 4_000;

/** What was found wrong, and what was done when, to tell the story of a failure. */
export class Findings {
  readonly all: Finding[] = [];
  readonly story: string[] = [];
  readonly #began = performance.now();

  add(kind: Kind, who: string, detail: string): void {
    // One mistake can be found in every message from then on.
    if (this.all.length >= mostFindings) return;
    const told = detail.replaceAll(/x{20,}/g, "x…");
    this.all.push({ kind, who, detail: told.slice(0, mostCharacters) });
    this.tell(`!!! ${kind} (${who}): ${told.slice(0, mostCharacters)}`);
  }

  tell(what: string): void {
    this.story.push(`${((performance.now() - this.#began) / 1_000).toFixed(3)} ${what}`);
  }

  get kinds(): ReadonlySet<Kind> {
    return new Set(this.all.map(({ kind }) => kind));
  }

  /** The first of them and what led there. */
  toString(): string {
    const first = this.all.slice(0, 12).map(({ kind, who, detail }) => `${kind} (${who}): ${detail.slice(0, 600)}`);
    const more = this.all.length > first.length ? [`… and ${this.all.length - first.length} more`] : [];
    return [...first, ...more].join("\n");
  }
}
