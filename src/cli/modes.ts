import { TailgateError } from "../errors.js";

/** What travels on one kind of connection: how it is asked for and which of the received messages are lines. */
export interface Mode {
  /** The subprotocol to offer; none for plain connections. */
  readonly protocol: string | undefined;
  /** Whether a connection that was cut continues without a gap. */
  readonly resumes: boolean;
  /** Adds to the address what this kind of connection asks for there. */
  address(url: URL): URL;
  /** @returns what to send first on a new connection. */
  greeting(): string[];
  /**
   * @param text - a message as received
   * @returns the line to print, if it is one, and what to answer
   * @throws TailgateError when the gateway refuses what was asked for
   */
  receive(text: string): { line?: string; answers?: string[] };
}

/** Every message is a line, as it came. */
export function createPlain(interfaces: readonly string[]): Mode {
  return {
    protocol: undefined,
    resumes: false,
    address(url) {
      const asked = new URL(url);
      asked.searchParams.set("interfaces", interfaces.join(","));
      return asked;
    },
    greeting: () => [],
    receive: (text) => ({ line: oneLine(text) }),
  };
}

/** One subscription, and how far what was printed of it goes. */
interface Subscription {
  readonly id: string;
  view: string | undefined;
  since: string | undefined;
  /** Frames count only from `ready` on. */
  ready: boolean;
}

/** The members of the messages from the gateway that matter here. */
interface Received {
  readonly type?: string;
  readonly id?: string;
  readonly operation?: string;
  readonly view?: string;
  readonly position?: string;
  readonly previous?: string;
  readonly status?: number;
  readonly code?: string;
  readonly title?: string;
  readonly detail?: string;
}

/**
 * The client side of `tailgate.v1`: one subscription for each interface. Changes, snapshots and resets are lines, and
 * after a cut each subscription goes on where its last line was.
 *
 * @param options.filter - for every subscription
 * @param options.since - where every subscription begins
 */
export function createSubscriptions(
  interfaces: readonly string[],
  options: { filter: Record<string, unknown> | undefined; since: string | undefined; note: (text: string) => void },
): Mode {
  const subscriptions: Subscription[] = interfaces.map((id) => ({
    id,
    view: undefined,
    since: options.since,
    ready: false,
  }));

  function subscribe(subscription: Subscription): string {
    subscription.ready = false;
    const { id, since } = subscription;
    const view = since === undefined ? undefined : subscription.view;
    // What is undefined is left out.
    return JSON.stringify({ type: "subscribe", id, interface: id, filter: options.filter, since, view });
  }

  function change(message: Received): { print: boolean; answers: string[] } {
    const subscription = subscriptions.find(({ view, ready }) => ready && view === message.view);
    const { position = "", previous = "" } = message;
    // Before its `ready`, or not after its position: the snapshot or the replay holds it already.
    if (subscription === undefined || position <= (subscription.since ?? "")) return { print: false, answers: [] };
    if (previous > (subscription.since ?? previous)) {
      options.note(`a message of ${subscription.id} was missed: subscribing again from the last one`);
      const answers = [JSON.stringify({ type: "unsubscribe", id: subscription.id }), subscribe(subscription)];
      return { print: false, answers };
    }
    subscription.since = position;
    return { print: true, answers: [] };
  }

  function control(message: Received): boolean {
    const subscription = subscriptions.find(({ id }) => id === message.id);
    if (message.type === "error") throw refused(message);
    if (message.type === "ready" && subscription !== undefined) {
      Object.assign(subscription, { view: message.view, since: message.position, ready: true });
    } else if (message.type === "reset" && subscription !== undefined) {
      Object.assign(subscription, { view: message.view, since: undefined, ready: false });
    } else if (message.type === "progress" || message.type === "pong") {
      for (const each of subscriptions) if (each.ready) each.since = later(each.since, message.position);
    }
    return message.type === "snapshot" || message.type === "reset";
  }

  return {
    protocol: "tailgate.v1",
    resumes: true,
    address: (url) => url,
    greeting: () => subscriptions.map(subscribe),
    receive(text) {
      const message = JSON.parse(text) as Received;
      if (message.operation === undefined) return control(message) ? { line: oneLine(text) } : {};
      const { print, answers } = change(message);
      return print ? { line: oneLine(text), answers } : { answers };
    },
  };
}

function refused({ id, status, code, title, detail }: Received): TailgateError {
  const what = [title, detail].filter((part) => part !== undefined).join(": ");
  return new TailgateError(
    code ?? "refused",
    `the gateway refuses${id === undefined ? "" : ` ${id}`} (${status ?? "no status"} ${code ?? "no code"}): ${what}`,
  );
}

/** Positions are strings whose order is the history's. */
function later(left: string | undefined, right: string | undefined): string | undefined {
  return (left ?? "") > (right ?? "") ? left : right;
}

/** A message is printed as it came, to the digit; only one that spans lines is written anew. */
function oneLine(text: string): string {
  return /[\r\n]/.test(text) ? JSON.stringify(JSON.parse(text)) : text;
}
