import { type ResponseHead, responseText } from "./front-headers.js";
import { Patience, type PatienceOptions } from "./front-patience.js";
import type { HttpResponse } from "./uws.js";

/**
 * The client's side of one exchange, and the only code that touches uWebSockets' response: that throws when it is
 * touched after its end or an abort, so all access goes through `#res`, which is gone by then.
 *
 * Facts of the binary that the code leans on (uWebSockets 20, HttpResponse.h, HttpContext.h and AsyncSocket.h):
 * - `tryEnd` keeps nothing that the socket does not take; `write` does, and only says so.
 * - With an `onWritable` handler nothing that was kept is sent by itself: an empty cork sends it. Without one, a
 *   writable event would start a timeout of 10 s on a response that is merely slow.
 * - A failed write starts a timeout of 10 s, which ends with the next writable event. Linux reports that when a third
 *   of its send buffer is free, and that buffer grows to 4 MB: a reader may take 100 KB/s and be cut off. So while the
 *   client is behind, more is written every few seconds, event or not. A write fits as soon as there is any room, and
 *   how much is taken tells a slow reader from one that has stopped.
 * - What is smaller than the cork buffer, 16 KB, is taken whatever the socket says, and waits for a writable event.
 */
export class FrontClient {
  #res: HttpResponse | undefined;
  #head: ResponseHead | undefined;
  #length: number | undefined;
  #held: Buffer | undefined;
  #stalled = false;
  #ending = false;
  #started = false;
  #closing = false;
  #pauseWanted = false;
  #paused = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #patience: Patience;
  readonly #onDrain: () => void;
  readonly #onDone: (aborted: boolean) => void;

  /**
   * @param handlers.onDrain - the client has taken what was written: more is welcome
   * @param handlers.onDone - called once: the response was handed over whole, or the connection is gone
   * @param patience - with a client that is behind with reading: then the connection is cut
   */
  constructor(
    res: HttpResponse,
    handlers: { onDrain: () => void; onDone: (aborted: boolean) => void },
    patience: PatienceOptions,
  ) {
    this.#res = res;
    this.#patience = new Patience(patience);
    this.#onDrain = handlers.onDrain;
    this.#onDone = handlers.onDone;
    res.onAborted(() => this.#done(true));
    res.onWritable(() => this.#onWritable());
  }

  /** False once the response has its end, or the connection is gone or about to be closed. */
  get open(): boolean {
    return this.#alive && !this.#ending;
  }

  /** True once a part of the response may have reached the client. */
  get started(): boolean {
    return this.#started;
  }

  /** @param onChunk - `chunk` is only valid inside the call */
  readBody(onChunk: (chunk: ArrayBuffer, last: boolean) => void): void {
    this.keepReading();
    this.#res?.onData((chunk, last) => {
      // What comes in shows that the socket is read: a write that fails makes the binary poll again for both.
      this.#paused = false;
      if (last) this.#pauseWanted = false;
      onChunk(chunk, last);
    });
  }

  /**
   * Stops reading the request's body, so that the client's own sending comes to a stop. Not before this turn of the
   * event loop has been handled: what was received in it may hold the body's end, and on a socket that stays paused
   * after that nothing is noticed any more.
   */
  pauseReading(): void {
    if (this.#pauseWanted) return;
    this.#pauseWanted = true;
    setImmediate(() => this.#pauseIfWanted());
  }

  resumeReading(): void {
    this.#pauseWanted = false;
    if (!this.#paused) return;
    this.#paused = false;
    this.keepReading();
  }

  /**
   * Reads on, with 10 s until the binary loses patience. Both calls are needed: `resume` restores the poll events that
   * the last `pause` found, of whichever socket, and none at all where there was no `pause` yet.
   */
  keepReading(): void {
    if (this.#paused) return;
    this.#res?.pause();
    this.#res?.resume();
  }

  /** Sets the head, which goes out with the first part of the body: the binary has no way to send it alone. */
  begin(head: ResponseHead): void {
    this.#head = head;
    this.#length = head.length;
  }

  /** @returns false when the client is behind: to be continued after `onDrain` */
  write(chunk: Buffer): boolean {
    this.#corked((res) => {
      this.#writeHead(res);
      if (this.#held !== undefined) this.#held = Buffer.concat([this.#held, chunk]);
      else this.#push(res, chunk);
    });
    this.#pushLastByte();
    return !this.#stalled;
  }

  /** Ends the response, after what is still held for a slow client. */
  end(): void {
    this.#ending = true;
    const isWaiting = this.#stalled && this.#timer !== undefined;
    if (this.#held === undefined && !isWaiting) this.#corked((res) => this.#finish(res));
  }

  /**
   * Writes a whole response at once.
   *
   * @param hangUp - close the connection behind it, read or not; the binary then adds the Connection header
   */
  respond(head: ResponseHead, body: Buffer, hangUp: boolean): void {
    this.begin(head);
    if (head.bodiless) {
      this.end();
      return;
    }
    this.#ending = true;
    this.#corked((res) => {
      this.#writeHead(res);
      this.resumeReading();
      res.end(body, hangUp);
      this.#done(false);
    });
  }

  /**
   * Cuts the connection, which tells the client that what it has is not whole. Not before the next turn of the event
   * loop: the binary's parser for chunked bodies goes on with a socket that was closed under it.
   */
  close(): void {
    if (!this.#alive) return;
    this.#closing = true;
    setImmediate(() => this.#res?.close());
  }

  get #alive(): boolean {
    return this.#res !== undefined && !this.#closing;
  }

  #writeHead(res: HttpResponse): void {
    const head = this.#head;
    if (head === undefined) return;
    this.#head = undefined;
    this.#started = true;
    const reason = responseText(head.reason) ?? "";
    res.writeStatus(
      typeof reason === "string"
        ? `${head.status} ${reason}`
        : Buffer.concat([Buffer.from(`${head.status} `, "latin1"), reason]),
    );
    for (const [name, value] of head.headers) res.writeHeader(name, value);
    if (head.bodiless && head.length !== undefined) res.writeHeader("Content-Length", String(head.length));
  }

  #push(res: HttpResponse, chunk: Buffer): void {
    if (this.#length === undefined) this.#pushChunked(res, chunk);
    else this.#pushSized(res, chunk, this.#length);
  }

  #pushSized(res: HttpResponse, chunk: Buffer, length: number): void {
    const before = res.getWriteOffset();
    const isEnd = before + chunk.length >= length;
    // The response must not be over while the binary keeps a part of it, for then nobody looks after a slow reader.
    // As it keeps what is small, the last byte goes alone: it is refused as long as anything is kept.
    const alone = isEnd && chunk.length > 1 && this.#timer !== undefined;
    // The last chance to touch it: reading has to go on, for the rest of a body that nobody waits for and for what
    // the client asks next.
    if (isEnd) this.resumeReading();
    const [ok, finished] = res.tryEnd(alone ? chunk.subarray(0, -1) : chunk, length);
    if (finished) {
      this.#done(false);
      return;
    }
    const written = res.getWriteOffset() - before;
    this.#patience.taken(written);
    if (!ok || alone) this.#held = chunk.subarray(written);
    this.#setStalled(!ok || alone);
  }

  /** After a cork of its own, which has sent what it could of the rest. */
  #pushLastByte(): void {
    if (this.#held?.length === 1) this.#pushHeld();
  }

  #pushChunked(res: HttpResponse, chunk: Buffer): void {
    let rest = chunk;
    // The binary does not tell when what it kept is gone, only that a write met a remainder and was added to it. So
    // after a stall a small piece goes first: much smaller than what any writable event makes room for, which keeps
    // the remainder from growing.
    if (this.#stalled && rest.length > probeBytes) {
      if (!res.write(rest.subarray(0, probeBytes))) {
        this.#held = rest.subarray(probeBytes);
        this.#setStalled(true);
        return;
      }
      rest = rest.subarray(probeBytes);
    }
    this.#setStalled(!res.write(rest));
    this.#patience.taken(chunk.length);
  }

  #finish(res: HttpResponse): void {
    const bodiless = this.#head?.bodiless === true;
    this.#writeHead(res);
    this.resumeReading();
    if (bodiless) {
      res.endWithoutBody();
    } else if (this.#length === undefined || this.#length === 0) {
      res.end();
    } else {
      this.close(); // shorter than announced
      return;
    }
    this.#done(false);
  }

  #onWritable(): boolean {
    // The event has ended the binary's timeout as well.
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#patience.setBehind(false);
    this.#pushHeld();
    if (!this.#alive || this.#held !== undefined) return true;
    if (this.#ending) this.#corked((res) => this.#finish(res));
    else this.#onDrain();
    return true;
  }

  #pushHeld(): void {
    this.#corked((res) => {
      const held = this.#held;
      this.#held = undefined;
      if (held !== undefined) this.#push(res, held);
    });
  }

  /** Sees to a client that is behind until the next writable event, for until then the binary's timeout runs. */
  #watch(): void {
    if (!this.#alive) return;
    const left = this.#stalled ? this.#patience.leftMilliseconds : renewMilliseconds;
    this.#timer ??= setTimeout(() => this.#onWatch(), Math.min(left, renewMilliseconds));
  }

  #onWatch(): void {
    this.#timer = undefined;
    if (!this.#alive) return;
    if (this.#stalled && this.#patience.leftMilliseconds <= 0) {
      this.close();
      return;
    }
    this.keepReading();
    this.#watch();
    this.#pushHeld();
    this.#pushLastByte();
    if (!this.#alive || this.#held !== undefined) return;
    if (!this.#ending) this.#onDrain();
    // Of a chunked response the binary may still keep something: it ends with the next event, which nothing more delays.
    else if (!this.#stalled) this.#corked((res) => this.#finish(res));
  }

  #setStalled(stalled: boolean): void {
    const before = this.#stalled;
    this.#stalled = stalled;
    this.#patience.setBehind(stalled);
    if (stalled) this.#watch();
    if (stalled === before) return;
    if (stalled && this.#paused) {
      this.#paused = false;
      this.keepReading();
    } else if (!stalled) {
      this.#pauseIfWanted();
    }
  }

  #pauseIfWanted(): void {
    // A paused socket reports no writable events either: while the response waits for one, reading goes on.
    if (!this.#pauseWanted || this.#stalled || !this.open) return;
    this.#paused = true;
    this.#res?.pause();
  }

  #corked(work: (res: HttpResponse) => void): void {
    const res = this.#res;
    if (res === undefined || this.#closing) return;
    res.cork(() => work(res));
  }

  #done(aborted: boolean): void {
    if (this.#res === undefined) return;
    this.#res = undefined;
    clearTimeout(this.#timer);
    this.#held = undefined;
    this.#stalled = false;
    this.#onDone(aborted);
  }
}

const probeBytes = 1024;
/** How often uWebSockets' patience is renewed: well under the 8 to 12 s after which it gives up. */
export const renewMilliseconds = 3000;
