/** What a client holds of one subscription, but for the rows. */
interface Held {
  readonly id: string;
  view: string;
  position: string;
  isReady: boolean;
}

/** What must not have happened, added up. */
export interface Faults {
  /** Changes that follow one that did not come, and replays that begin elsewhere than asked. */
  gaps: number;
  /** Changes that came again, or after later ones. */
  repeats: number;
  /** Changes of views that were never subscribed to, or of documents that do not belong to theirs. */
  strays: number;
  /** How often each reason for a reset, or code of an error, came. */
  notices: Record<string, number>;
}

interface Notice {
  type?: string;
  id?: string;
  view?: string;
  position?: string;
  recovered?: boolean;
  reason?: string;
  code?: string;
}

interface Change {
  operation?: string;
  data?: unknown;
  view: string;
  position: string;
  previous: string;
}

const changeBegins = '{"interface"';
/** A change's last members, where they stand in the order of PROTOCOL.md: then the rest need not be parsed. */
const ending = /"view":"([^"]+)","position":"([0-9a-f]{32})","previous":"([0-9a-f]{32})"\}$/;
const endingLength = 250;
/** Shorter ones may be deletes that remove nothing, and are parsed in any case. */
const quickFromBytes = 300;

/**
 * Reads what a client of `tailgate.v1` reads and keeps its positions as PROTOCOL.md says (S15 to S19), to find out whether
 * every change came, once and in order. Its subscriptions are of different views.
 */
export class Follower {
  readonly faults: Faults = noFaults();
  /** Changes that were taken, over all subscriptions and connections. */
  changes = 0;
  readonly #byId = new Map<string, Held>();
  readonly #byView = new Map<string, Held>();
  readonly #belongs: ((id: string, document: unknown) => boolean) | undefined;

  /** @param belongs - whether a document belongs to the subscription of that id; costs parsing each change */
  constructor(belongs?: (id: string, document: unknown) => boolean) {
    this.#belongs = belongs;
  }

  /** @returns whether every subscription, and at least one, has had its `ready` on this connection */
  get isReady(): boolean {
    return this.#byId.size > 0 && [...this.#byId.values()].every((held) => held.isReady);
  }

  /** @returns the message that subscribes, or goes on where the last connection ended */
  subscribe(id: string, what: { interface: string; filter?: unknown; snapshot?: boolean }): string {
    const held = this.#byId.get(id) ?? { id, view: "", position: "", isReady: false };
    held.isReady = false;
    this.#byId.set(id, held);
    const resume = held.position === "" ? {} : { since: held.position, view: held.view };
    return JSON.stringify({ type: "subscribe", id, ...what, ...resume });
  }

  /** @param payload - of one data message */
  take(payload: Uint8Array): void {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
    if (bytes.toString("latin1", 0, changeBegins.length) === changeBegins) this.#change(bytes);
    else this.#notice(JSON.parse(bytes.toString()) as Notice);
  }

  #change(bytes: Buffer): void {
    const [, view, position, previous] =
      ending.exec(bytes.toString("latin1", Math.max(0, bytes.length - endingLength))) ?? [];
    const isQuick =
      bytes.length >= quickFromBytes && view !== undefined && position !== undefined && previous !== undefined;
    const mustParse = !isQuick || this.#belongs !== undefined;
    const change = (mustParse ? JSON.parse(bytes.toString()) : { view, position, previous }) as Change;
    const held = this.#byView.get(change.view);
    // It removes nothing: it only moves the position on (S21).
    const isEmpty = change.operation === "delete" && Array.isArray(change.data) && change.data.length === 0;
    if (held === undefined || !(isEmpty || (this.#belongs?.(held.id, change.data) ?? true))) {
      this.faults.strays += 1;
      return;
    }
    // Before its `ready` it is none of this subscription's; on one connection each view has one subscription.
    if (!held.isReady || change.position <= held.position) this.faults.repeats += 1;
    else {
      if (change.previous > held.position) this.faults.gaps += 1;
      held.position = change.position;
      if (!isEmpty) this.changes += 1;
    }
  }

  #notice(notice: Notice): void {
    const { type, position = "" } = notice;
    if (type === "ready") this.#ready(notice);
    else if (type === "reset" || type === "error") {
      const name = `${type} ${notice.reason ?? notice.code}`;
      this.faults.notices[name] = (this.faults.notices[name] ?? 0) + 1;
      const held = this.#byId.get(notice.id ?? "");
      if (held !== undefined) Object.assign(held, { isReady: false, position: "" });
    } else if (type === "progress" || type === "pong") {
      for (const held of this.#byId.values()) {
        if (held.isReady && position > held.position) held.position = position;
      }
    }
  }

  #ready({ id = "", view = "", position = "", recovered }: Notice): void {
    const held = this.#byId.get(id);
    if (held === undefined) return;
    if (recovered === true && position !== held.position) this.faults.gaps += 1;
    this.#byView.delete(held.view);
    Object.assign(held, { view, position, isReady: true });
    this.#byView.set(view, held);
  }
}

export function noFaults(): Faults {
  return { gaps: 0, repeats: 0, strays: 0, notices: {} };
}

/** @returns all of them together */
export function addFaults(faults: Iterable<Faults>): Faults {
  const total = noFaults();
  for (const each of faults) {
    total.gaps += each.gaps;
    total.repeats += each.repeats;
    total.strays += each.strays;
    for (const [name, count] of Object.entries(each.notices)) total.notices[name] = (total.notices[name] ?? 0) + count;
  }
  return total;
}

/** @returns one text for each kind of fault that there was */
export function describeFaults({ gaps, repeats, strays, notices }: Faults): string[] {
  const texts = Object.entries(notices).map(([name, count]) => `${count} times \`${name}\``);
  if (gaps > 0) texts.push(`${gaps} gaps`);
  if (repeats > 0) texts.push(`${repeats} changes that came again`);
  if (strays > 0) texts.push(`${strays} changes that are not the subscription's`);
  return texts;
}
