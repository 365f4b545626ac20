import { BSON, type ChangeStream, type ChangeStreamOptions, type Db, type Document, type ResumeToken } from "mongodb";
import type { Support } from "../database.js";
import { RawEvent } from "./raw-event.js";

/** How long the server may hold back an empty batch, in milliseconds. */
const maxAwaitTimeMS = 1_000;
/** Silence beyond that is still taken for a slow network for some seconds. */
export const normalSilenceMilliseconds = maxAwaitTimeMS + 5_000;

/** What the server said at once: some events, perhaps none, and the token of the place after them. */
export interface RawBatch {
  readonly events: readonly RawEvent[];
  /** The place after the last event, or, of an empty batch, how far the server has read. */
  readonly token: ResumeToken | undefined;
  /** The first of a stream, which says that it is open. */
  readonly isOpening: boolean;
}

/**
 * Ordinals of positions count the events of this pipeline, so that whoever reads again what was read before has to use the
 * same one.
 *
 * @param collections - those of all interfaces
 */
export function pipelineOf(collections: Iterable<string>, support: Support): Document[] {
  const names = [...collections];
  const match = {
    $match: {
      $or: [
        { "ns.coll": { $in: names } },
        { "to.coll": { $in: names } },
        { operationType: { $in: ["dropDatabase", "invalidate"] } },
      ],
    },
  };
  // The split stage has to be the last one.
  return support.splitEvents ? [match, { $changeStreamSplitLargeEvent: {} }] : [match];
}

/** @returns what the stream is opened with, but for the place where it begins */
export function optionsOf(support: Support): ChangeStreamOptions {
  return {
    // The only one that a change stream may have, whatever the URI says for reads.
    readConcern: { level: "majority" },
    maxAwaitTimeMS,
    ...(support.expandedEvents ? { showExpandedEvents: true } : {}),
    // `required` would end the stream at the first image that is missing or has expired.
    ...(support.images
      ? { fullDocument: "whenAvailable", fullDocumentBeforeChange: "whenAvailable" }
      : { fullDocument: "updateLookup" }),
  };
}

/** What finding a server may take beyond any silence of the stream: the driver looks for one, and tries twice. */
const findingMilliseconds = 10_000;

/** Nothing came, not even an empty batch, for longer than the server may stay silent. */
export class SilentStreamError extends Error {
  readonly code = "silent-stream";

  constructor(milliseconds: number) {
    super(`the change stream was silent for ${milliseconds} ms: the connection is taken for dead`);
    this.name = "SilentStreamError";
  }
}

/** The server has closed the stream, as it does after the event that invalidates it: it has to be opened anew after that. */
export class StreamEndedError extends Error {
  readonly code = "stream-ended";

  constructor() {
    super("the server has ended the change stream");
    this.name = "StreamEndedError";
  }
}

/**
 * The part of the driver's change stream cursor that is used. `ChangeStream.tryNext` hands out one event at a time and
 * resumes once by itself; its cursor, read directly, hands out a batch at a time, gives the token of every batch, empty
 * ones too, and leaves errors to the caller. The driver's version is pinned for it, and a spec reads through it.
 */
interface BatchCursor {
  /** With the option `raw` it gives bytes, slices of the server's answer. */
  tryNext(): Promise<Uint8Array | null>;
  readBufferedDocuments(): Uint8Array[];
  /** The server has closed the cursor: nothing more comes of it. */
  readonly isDead: boolean;
  /** The server has opened the stream, perhaps with events; `tryNext` then goes on to wait for a first one. */
  once(event: "init", listener: (response: { readonly batchSize: number }) => void): void;
  readonly postBatchResumeToken?: ResumeToken;
  /** What the command that opens it is sent with. `watch` itself would hand a time limit for the socket on to the server. */
  readonly changeStreamCursorOptions: { socketTimeoutMS?: number };
}

/**
 * Opens a change stream and yields what the server sends, batch by batch, until the signal aborts. The first batch is
 * empty and comes as soon as the stream is open. It never resumes by itself: an error ends it.
 *
 * @param options.silenceMilliseconds - the longest wait for a batch before the connection is taken for dead
 * @param options.openingMilliseconds - the longest wait for the stream to open, if that is another; the socket's own limit
 *   follows it. What it takes to find a server comes on top
 * @param options.undecodable - told of an event that can't be read; the others of its batch are yielded all the same
 * @throws the driver's errors as they are, `SilentStreamError` and `StreamEndedError`
 */
export async function* readBatches(
  db: Db,
  pipeline: Document[],
  options: {
    stream: ChangeStreamOptions;
    silenceMilliseconds: number;
    openingMilliseconds?: number;
    signal: AbortSignal;
    undecodable: (error: Error) => void;
  },
): AsyncGenerator<RawBatch, void, void> {
  const stream = db.watch(pipeline, { ...options.stream, raw: true });
  const cursor = (stream as unknown as { cursor: BatchCursor }).cursor;
  const { silenceMilliseconds, openingMilliseconds = silenceMilliseconds } = options;
  const longestOpening = openingMilliseconds + findingMilliseconds;
  cursor.changeStreamCursorOptions.socketTimeoutMS = longestOpening;
  const wait = createWait(silenceMilliseconds, options.signal);
  try {
    let openingToken: ResumeToken | undefined;
    const opening = new Promise<null>((resolve) =>
      cursor.once("init", ({ batchSize }) => {
        // With events in it the token is that of the place after them, and they are yet to be yielded.
        if (batchSize === 0) openingToken = cursor.postBatchResumeToken;
        resolve(null);
      }),
    );
    let next = readNext(cursor, options.undecodable);
    if ((await wait.until(Promise.race([opening, next]), longestOpening)) === "aborted") return;
    yield { events: [], token: openingToken, isOpening: true };
    while (!options.signal.aborted) {
      const events = await wait.until(next);
      if (events === "aborted") return;
      yield { events, token: cursor.postBatchResumeToken, isOpening: false };
      // Without this, `tryNext` of a dead cursor would answer at once with nothing, for ever.
      if (cursor.isDead) throw new StreamEndedError();
      // Nobody would hear of its failure after an abort.
      if (!options.signal.aborted) next = readNext(cursor, options.undecodable);
    }
  } finally {
    wait.end();
    close(stream);
  }
}

async function readNext(cursor: BatchCursor, undecodable: (error: Error) => void): Promise<RawEvent[]> {
  const first = await cursor.tryNext();
  if (first === null) return [];
  const events: RawEvent[] = [];
  for (const bytes of [first, ...cursor.readBufferedDocuments()]) {
    try {
      events.push(new RawEvent(bytes));
    } catch (error) {
      if (!(error instanceof BSON.BSONError)) throw error;
      undecodable(error);
    }
  }
  return events;
}

/**
 * Waits for one read after another, each no longer than the silence that is still normal, and none after an abort. One
 * timer and one listener serve all of them: `Promise.race` with a promise that lives as long as the stream would keep
 * something of every batch for as long.
 */
function createWait(silenceMilliseconds: number, signal: AbortSignal) {
  let giveUp: (reason: "aborted" | SilentStreamError) => void = () => {};
  let allowed = silenceMilliseconds;
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => giveUp("aborted");
  signal.addEventListener("abort", abort, { once: true });
  return {
    /** @param milliseconds - what this wait may take, if that is other than the rest of them may */
    until<Read>(read: Promise<Read>, milliseconds = silenceMilliseconds): Promise<Read | "aborted"> {
      if (timer === undefined || milliseconds !== allowed) {
        clearTimeout(timer);
        allowed = milliseconds;
        timer = setTimeout(() => giveUp(new SilentStreamError(allowed)), allowed);
      } else timer.refresh();
      return new Promise((resolve, reject) => {
        // When the wait is given up, the read still ends some time, with an error that is of no interest any more: the
        // cursor has been closed under it.
        giveUp = (reason) => (reason === "aborted" ? resolve(reason) : reject(reason));
        if (signal.aborted) resolve("aborted");
        read.then(resolve, reject);
      });
    },
    end(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    },
  };
}

/** Not awaited: on a dead connection killing the cursor takes as long as the socket's own timeout. */
function close(stream: ChangeStream): void {
  // The server forgets the cursor by itself when it can't be told.
  stream.close().catch(() => undefined);
}
