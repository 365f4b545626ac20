import type { ChangeStream, ChangeStreamDocument, ChangeStreamOptions, Db, Document, ResumeToken } from "mongodb";

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
  tryNext(): Promise<ChangeStreamDocument | null>;
  readBufferedDocuments(): ChangeStreamDocument[];
  bufferedCount(): number;
  /** The server has closed the cursor: nothing more comes of it. */
  readonly isDead: boolean;
  /** The server has opened the stream; `tryNext` then goes on to wait for a first event. */
  once(event: "init", listener: () => void): void;
  readonly postBatchResumeToken?: ResumeToken;
}

/**
 * Opens a change stream and yields what the server sends, batch by batch, until the signal aborts. The first batch is
 * empty and comes as soon as the stream is open. It never resumes by itself: an error ends it.
 *
 * @param options.silenceMilliseconds - the longest wait for a batch before the connection is taken for dead
 * @throws the driver's errors as they are, `SilentStreamError` and `StreamEndedError`
 */
export async function* readBatches(
  db: Db,
  pipeline: Document[],
  options: { stream: ChangeStreamOptions; silenceMilliseconds: number; signal: AbortSignal },
): AsyncGenerator<RawBatch, void, void> {
  const stream = db.watch(pipeline, options.stream);
  const cursor = (stream as unknown as { cursor: BatchCursor }).cursor;
  const ended = new AbortController();
  const aborted = new Promise<"aborted">((resolve) => {
    options.signal.addEventListener("abort", () => resolve("aborted"), { once: true, signal: ended.signal });
  });
  try {
    const opening = new Promise<null>((resolve) => cursor.once("init", () => resolve(null)));
    let next = cursor.tryNext();
    const opened = await race(
      Promise.race([opening, next]),
      aborted,
      options.silenceMilliseconds + openingMilliseconds,
    );
    if (opened === "aborted") return;
    // The token is that of the place after what came along with the opening, which is yet to be yielded.
    yield {
      events: [],
      token: cursor.bufferedCount() === 0 && opened === null ? cursor.postBatchResumeToken : undefined,
    };
    for (; !options.signal.aborted; next = cursor.tryNext()) {
      const first = await race(next, aborted, options.silenceMilliseconds);
      if (first === "aborted") return;
      const events = first === null ? [] : [first, ...cursor.readBufferedDocuments()];
      yield { events, token: cursor.postBatchResumeToken };
      // Without this, `tryNext` of a dead cursor would answer at once with nothing, for ever.
      if (cursor.isDead) throw new StreamEndedError();
    }
  } finally {
    ended.abort();
    close(stream);
  }
}

async function race(
  next: Promise<ChangeStreamDocument | null>,
  aborted: Promise<"aborted">,
  silenceMilliseconds: number,
): Promise<ChangeStreamDocument | null | "aborted"> {
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
