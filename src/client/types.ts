import type { Operation, ResetReason } from "../message.js";
import type { ClientError } from "./error.js";

/** The part of a document that clients see. */
export type Doc = { id: unknown };

/** Signs the connection in: a token, or what gives one each time that one is needed, and undefined for none. */
export type Token = string | ((context: { signal: AbortSignal }) => string | undefined | Promise<string | undefined>);

/** What the client needs of a websocket: the standard's own, `ws`, and others have it. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number): void;
  /** Ends it without the other side's consent, where the class can. */
  terminate?(): void;
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export interface ConnectOptions {
  /**
   * A function is asked before each connection, and again before its token expires, so that the connection is renewed in
   * place. Without it the browser's cookie `tailgate_token` counts, or the connection is anonymous.
   */
  token?: Token;
  /** The close code for a token that is not good, where `auth.closeCode` of the gateway has another than 4401. */
  unauthorizedCode?: number;
  /**
   * After how long a silence the gateway is asked whether it is there, in milliseconds, and as long again, but 10 s at most, until
   * the connection is taken for lost. Default 25,000; 0 and Infinity mean never.
   */
  silenceMilliseconds?: number;
  /** The class to connect with; default: the runtime's own. */
  WebSocket?: WebSocketClass;
}

/**
 * - `connecting`: on the way, for the first time or again;
 * - `open`: the gateway has welcomed it;
 * - `waiting`: lost, and about to be tried again;
 * - `closed`: by `close`, or refused by the gateway, as `error` says. It stays so.
 */
export type ClientState = "connecting" | "open" | "waiting" | "closed";

export interface Client {
  readonly state: ClientState;
  /** Who the gateway takes the connection for: null where nobody signed in, undefined before it has answered. */
  readonly user: { sub: string } | null | undefined;
  /** Why the last connection was lost, or refused; undefined while it is open. */
  readonly error: ClientError | undefined;
  /** @param name - the interface's public name */
  interface<Row extends Doc = Doc & Record<string, unknown>>(name: string): Query<Row>;
  /**
   * @param listener - called now, whenever `state` or `user` changes, and when the gateway has taken a new token
   * @returns what ends that
   */
  readonly subscribe: (listener: (client: Client) => void) => () => void;
  /**
   * Asks for a token and signs in anew: after the user has signed in or out, or has got other rights. Of the same user it is
   * the same connection; what was shown of another is void at once.
   *
   * @throws ClientError `no-token`, where none can be had
   */
  renew(): Promise<void>;
  /** Ends the connection and all that is live on it. */
  close(): void;
}

/** What to see of an interface. Each method gives another query; this one stays as it is. */
export interface Query<Row extends Doc> {
  /**
   * @param filter - MongoDB's, as it is now; dates, regular expressions and bigints are sent as such. Several must all match
   * @throws TypeError for undefined and other values that no filter has
   */
  where(filter: object): Query<Row>;
  /** @param paths - the fields to see of those that the interface shows; `id` always comes along */
  select(...paths: string[]): Query<Row>;
  /** Begins to follow it. */
  live(options?: LiveOptions<Row>): Live<Row>;
}

export interface LiveOptions<Row extends Doc> {
  /** False: no documents, only changes from now on; `docs` stays empty. Default true. */
  snapshot?: boolean;
  /** What an earlier `live` of the same query held, to go on from it. */
  copy?: Copy<Row>;
}

/** What is kept to go on later, all of one moment. */
export interface Copy<Row extends Doc> {
  readonly docs: readonly Row[];
  readonly position: string;
  readonly view: string;
}

/**
 * - `joining`: the documents are on their way; those of before, if any, are void;
 * - `live`: every change is followed;
 * - `away`: the connection is lost, and the documents are those of that moment;
 * - `ended`: by `close`, with the documents as they were, or refused by the gateway, as `error` says. It stays so.
 */
export type LiveState = "joining" | "live" | "away" | "ended";

/** A change of the view, as the gateway tells it. */
export type Change<Row extends Doc> = {
  readonly interface: string;
  readonly view: string;
  readonly position: string;
  readonly previous: string;
} & (
  | { readonly operation: Exclude<Operation, "delete">; readonly data: Row }
  | { readonly operation: "delete"; readonly data: readonly Row["id"][] }
);

/** All documents were replaced: changes do not lead from those of before to these. */
export interface Reset<Row extends Doc> {
  readonly operation: "reset";
  /** The gateway's; `too-slow` where whoever iterates was too far behind. */
  readonly reason: ResetReason | "too-slow";
  readonly docs: readonly Row[];
}

export interface LiveUpdate<Row extends Doc> {
  /** In the order in which they came; the same array as before where nothing changed. */
  readonly docs: readonly Row[];
  /** What led here from the update before, or, where `replaced` is true, since the documents came. */
  readonly changes: readonly Change<Row>[];
  readonly replaced: boolean;
  readonly state: LiveState;
  readonly error: ClientError | undefined;
}

/** A copy of what a query matches, which follows the database. */
export interface Live<Row extends Doc> {
  /** The same array as long as nothing changes. */
  readonly docs: readonly Row[];
  readonly state: LiveState;
  /** Why it ended, or why it is still joining. */
  readonly error: ClientError | undefined;
  /** How far the copy is; undefined while there is none. */
  readonly position: string | undefined;
  /** What to go on from later; undefined while joining, and where there are only changes. */
  readonly copy: Copy<Row> | undefined;
  /** What the listeners were told last: the same object until they are told again. */
  readonly current: LiveUpdate<Row>;
  /**
   * @param listener - called now, and after changes: once for all that came together
   * @returns what ends that
   */
  readonly subscribe: (listener: (update: LiveUpdate<Row>) => void) => () => void;
  /**
   * Every change from the call on, in order; call it once `ready` to build on `docs`. Of who is more than 10,000 behind the queue is replaced by one `reset`.
   *
   * @throws ClientError, while it is iterated, where the gateway ends it
   */
  changes(): AsyncIterableIterator<Change<Row> | Reset<Row>>;
  /**
   * @returns the documents, as soon as they are all there
   * @throws ClientError where it ends first; the signal's reason
   */
  ready(options?: { signal?: AbortSignal }): Promise<readonly Row[]>;
  /**
   * Waits until the copy shows a write, and all before it.
   *
   * @param position - `Tailgate-Position` of the answer to the write, or the `position` of a list
   * @throws TypeError where that is no position; ClientError where it ends first; the signal's reason
   */
  caughtUp(position: string, options?: { signal?: AbortSignal }): Promise<void>;
  /** Follows it no longer. */
  close(): void;
}
