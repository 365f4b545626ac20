import {
  BSON,
  type ChangeStream,
  type ChangeStreamDocument,
  type ChangeStreamOptions,
  type Db,
  type Document,
  type ResumeToken,
} from "mongodb";
import { decodeEvent } from "./raw.js";

/** What the server said at once: some events, perhaps none, and the token of the place after them. */
export interface RawBatch {
  readonly events: readonly ChangeStreamDocument[];
  /** The place after the last event, or, of an empty batch, how far the server has read. */
  readonly token: ResumeToken | undefined;
}

/** What finding a server may take beyond any silence of the stream: the driver looks for one, and tries twice. */
const openingMilliseconds = 10_000;

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
  tryNext(): Promise<Uint8Array | null>;
  readBufferedDocuments(number?: number): Uint8Array[];
  bufferedCount(): number;
  /** The server has closed the cursor: nothing more comes of it. */
  readonly isDead: boolean;
  /** The server has opened the stream, perhaps with events; `tryNext` then goes on to wait for a first one. */
  once(event: "init", listener: (response: { readonly batchSize: number }) => void): void;
  readonly postBatchResumeToken?: ResumeToken;
}

/**
 * Opens a change stream and yields what the server sends, batch by batch, until the signal aborts. The first batch is
 * empty and comes as soon as the stream is open. It never resumes by itself: an error ends it.
 *
 * @param options.silenceMilliseconds - the longest wait for a batch before the connection is taken for dead
 * @param options.undecodable - told of an event that can't be decoded; the others of its batch are yielded all the same
 * @throws the driver's errors as they are, `SilentStreamError` and `StreamEndedError`
 */
export async function* readBatches(
  db: Db,
  pipeline: Document[],
  options: {
    stream: ChangeStreamOptions;
    silenceMilliseconds: number;
    signal: AbortSignal;
    undecodable: (error: Error) => void;
  },
): AsyncGenerator<RawBatch, void, void> {
  const stream = db.watch(pipeline, { ...options.stream, raw: true });
  const cursor = (stream as unknown as { cursor: BatchCursor }).cursor;
  const ended = new AbortController();
  const aborted = new Promise<"aborted">((resolve) => {
    options.signal.addEventListener("abort", () => resolve("aborted"), { once: true, signal: ended.signal });
  });
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
    const silence = options.silenceMilliseconds + openingMilliseconds;
    if ((await race(Promise.race([opening, next]), aborted, silence)) === "aborted") return;
    yield { events: [], token: openingToken };
    while (!options.signal.aborted) {
      const events = await race(next, aborted, options.silenceMilliseconds);
      if (events === "aborted") return;
      yield { events, token: cursor.postBatchResumeToken };
      // Without this, `tryNext` of a dead cursor would answer at once with nothing, for ever.
      if (cursor.isDead) throw new StreamEndedError();
      // Nobody would hear of its failure after an abort.
      if (!options.signal.aborted) next = readNext(cursor, options.undecodable);
    }
  } finally {
    ended.abort();
    close(stream);
  }
}

/** The driver moves past an event before it decodes it: one that it can't decode costs itself alone. */
async function readNext(cursor: BatchCursor, undecodable: (error: Error) => void): Promise<ChangeStreamDocument[]> {
  const events: ChangeStreamDocument[] = [];
  const unlessUndecodable = (error: unknown): void => {
    if (!(error instanceof BSON.BSONError)) throw error;
    undecodable(error);
  };
  try {
    const first = await cursor.tryNext();
    if (first !== null) events.push(decodeEvent(first));
  } catch (error) {
    unlessUndecodable(error);
  }
  while (cursor.bufferedCount() > 0) {
    try {
      events.push(...cursor.readBufferedDocuments(1).map(decodeEvent));
    } catch (error) {
      unlessUndecodable(error);
    }
  }
  return events;
}

async function race<Read>(
  next: Promise<Read>,
  aborted: Promise<"aborted">,
  silenceMilliseconds: number,
): Promise<Read | "aborted"> {
  let timer: NodeJS.Timeout | undefined;
  const silent = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SilentStreamError(silenceMilliseconds)), silenceMilliseconds);
  });
  // When the race is lost to the abort or the silence, the read still ends some time, with an error that is of no
  // interest any more: the cursor has been closed under it.
  next.catch(() => undefined);
  try {
    return await Promise.race([next, aborted, silent]);
  } finally {
    clearTimeout(timer);
  }
}

/** Not awaited: on a dead connection killing the cursor takes as long as the socket's own timeout. */
function close(stream: ChangeStream): void {
  // The server forgets the cursor by itself when it can't be told.
  stream.close().catch(() => undefined);
}
