import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { Logger } from "../log.js";
import { FrontAgent } from "./front-agent.js";
import { FrontClient, renewMilliseconds } from "./front-client.js";
import { addressText, type RequestHead, readRequestHead, responseHeaders } from "./front-headers.js";
import { type Problem, problems, respondProblem } from "./front-problems.js";
import type { HttpRequest, HttpResponse } from "./uws.js";

export interface FrontOptions {
  /**
   * Where the HTTP server behind the front listens: a unix socket, or a named pipe on Windows. Its `keepAliveTimeout`
   * should not be under 3 s, and its backlog not under `maxConcurrent`.
   */
  target: { socketPath: string };
  /** The header that tells that server the address of the client; what a client sends under this name is dropped. */
  peerHeader: { name: string };
  /** How long the server may take from the end of a request to the head of its response, then 504. Default 60,000. */
  headerTimeoutMilliseconds?: number;
  /**
   * How long a client may take to send a body, then 408. What has come in extends it, by `bodyBytesPerSecond`, and time
   * in which the server did not take more does not count. Default 30,000.
   */
  bodyTimeoutMilliseconds?: number;
  /** The slowest sending of a body that is waited for, in bytes per second. Default 1024. */
  bodyBytesPerSecond?: number;
  /**
   * How long a client may take nothing of a response that waits for it, then the connection is cut. What it takes
   * extends it, by `responseBytesPerSecond`, up to this time again. Default 60,000.
   */
  responseTimeoutMilliseconds?: number;
  /** The slowest reading of a response that is waited for, in bytes per second. Default 25,000. */
  responseBytesPerSecond?: number;
  /** Requests in flight above which new ones get 503. Default 500. */
  maxConcurrent?: number;
  log: Logger;
}

export interface Front {
  /** A route handler: `app.any("/*", front.handle)`. */
  handle(res: HttpResponse, req: HttpRequest): void;
  /** Requests in flight. */
  readonly active: number;
  /**
   * Refuses new requests with 503 and waits for those in flight.
   *
   * @param signal - cuts those that are left; may come with a second call, which returns the same promise
   */
  stop(signal?: AbortSignal): Promise<void>;
}

/**
 * Passes requests from the public port to an HTTP server on this machine, with bodies streamed both ways: a slow reader
 * on either side makes the other side wait, and when one goes away the other one learns it.
 *
 * Requests that are sent on a connection before the response to an earlier one has begun (pipelining) end the
 * connection: uWebSockets allows one request at a time.
 */
export function createFront(options: FrontOptions): Front {
  const shared: Shared = {
    ...options,
    headerTimeoutMilliseconds: options.headerTimeoutMilliseconds ?? 60_000,
    bodyTimeoutMilliseconds: options.bodyTimeoutMilliseconds ?? 30_000,
    bodyBytesPerSecond: options.bodyBytesPerSecond ?? 1024,
    responseTimeoutMilliseconds: options.responseTimeoutMilliseconds ?? 60_000,
    responseBytesPerSecond: options.responseBytesPerSecond ?? 25_000,
    // Idle connections go before the server behind closes them (node:http: after 5 s), for a request that meets the
    // close half-way would fail.
    agent: new FrontAgent(options.target, { keepAlive: true, scheduling: "lifo", timeout: 2500 }),
    exchanges: new Set(),
    onIdle: undefined,
  };
  const maxConcurrent = options.maxConcurrent ?? 500;
  let stopped: Promise<void> | undefined;

  return {
    handle(res, req) {
      const address = addressText(res.getRemoteAddress());
      const head = readRequestHead(req, { name: options.peerHeader.name, address });
      if (head === "unanswerable") {
        res.onAborted(() => {}); // uWebSockets demands a handler, and answers 400 itself in a moment
      } else if (typeof head === "string") {
        // Where the request ends is not certain, so nothing more is read from this connection.
        respondProblem(bareClient(res), problems[head], { bodiless: false, hangUp: true });
      } else if (stopped !== undefined || shared.exchanges.size >= maxConcurrent) {
        const problem = stopped === undefined ? problems.overloaded : problems.stopping;
        const linger = head.hasBody || stopped !== undefined;
        respondProblem(bareClient(res), problem, { bodiless: head.method === "HEAD", linger });
      } else {
        new Exchange(shared, head, res).start();
      }
    },
    get active() {
      return shared.exchanges.size;
    },
    stop(signal) {
      signal?.addEventListener("abort", () => cutAll(shared), { once: true });
      stopped ??= untilIdle(shared).then(() => shared.agent.destroy());
      if (signal?.aborted) cutAll(shared);
      return stopped;
    },
  };
}

interface Shared extends Required<Omit<FrontOptions, "maxConcurrent">> {
  agent: FrontAgent;
  exchanges: Set<Exchange>;
  onIdle: (() => void) | undefined;
}

function untilIdle(shared: Shared): Promise<void> {
  if (shared.exchanges.size === 0) return Promise.resolve();
  return new Promise((resolve) => {
    shared.onIdle = resolve;
  });
}

function cutAll(shared: Shared): void {
  for (const exchange of shared.exchanges) exchange.cut();
}

/** One request and its response. */
class Exchange {
  readonly #shared: Shared;
  readonly #head: RequestHead;
  readonly #client: FrontClient;
  #upstream: ClientRequest | undefined;
  #response: IncomingMessage | undefined;
  #timer: NodeJS.Timeout | undefined;
  #bodyDone: boolean;
  #bodyBegan = 0;
  #bytes = 0;
  #pausedSince: number | undefined;

  constructor(shared: Shared, head: RequestHead, res: HttpResponse) {
    this.#shared = shared;
    this.#head = head;
    this.#bodyDone = !head.hasBody;
    const handlers = { onDrain: () => this.#response?.resume(), onDone: (aborted: boolean) => this.#end(aborted) };
    const { responseTimeoutMilliseconds: milliseconds, responseBytesPerSecond: bytesPerSecond } = shared;
    this.#client = new FrontClient(res, handlers, { milliseconds, bytesPerSecond });
    shared.exchanges.add(this);
  }

  start(): void {
    const { agent, target } = this.#shared;
    const { method, path, headers } = this.#head;
    let upstream: ClientRequest;
    try {
      upstream = request({ agent, socketPath: target.socketPath, method, path, headers: headers as never });
    } catch {
      // node:http checks what uWebSockets let through: characters in the path, names and values of headers.
      this.#refuse(problems.malformed);
      return;
    }
    this.#upstream = upstream;
    upstream.on("response", (response) => this.#onResponse(response));
    upstream.on("error", (error) => this.#onUpstreamError(error));
    if (this.#bodyDone) {
      this.#endBody();
      return;
    }
    upstream.on("drain", () => this.#resumeBody());
    this.#bodyBegan = performance.now();
    this.#client.readBody((chunk, last) => this.#onChunk(chunk, last));
    this.#watchBody();
  }

  /** Ends the exchange where it stands. */
  cut(): void {
    if (this.#client.started) this.#client.close();
    else this.#refuse(problems.stopping);
  }

  #onChunk(chunk: ArrayBuffer, last: boolean): void {
    const upstream = this.#upstream;
    if (!this.#client.open || upstream === undefined) return; // the rest of a body that nobody waits for
    this.#bytes += chunk.byteLength;
    // Copied, for uWebSockets takes the memory back when this returns.
    const taken = chunk.byteLength === 0 || upstream.write(Buffer.from(chunk.slice(0)));
    if (last) {
      this.#bodyDone = true;
      this.#endBody();
    } else if (upstream.writableLength > maxWaitingBytes) {
      this.#fail(new Error("the request's body waits for its response, and that for a slow reader"));
    } else if (!taken) {
      this.#pausedSince ??= performance.now();
      this.#client.pauseReading();
    }
  }

  #resumeBody(): void {
    if (this.#pausedSince !== undefined) this.#bodyBegan += performance.now() - this.#pausedSince;
    this.#pausedSince = undefined;
    this.#client.resumeReading();
  }

  #endBody(): void {
    clearTimeout(this.#timer);
    this.#upstream?.end();
    if (this.#response !== undefined) return;
    this.#timer = setTimeout(() => this.#refuse(problems.timeout), this.#shared.headerTimeoutMilliseconds);
  }

  /**
   * Left alone, uWebSockets closes a connection, without a word, that sends less than 160 KB in 10 s: too harsh for a
   * slow line, and no 408. So its patience is renewed as long as ours lasts.
   */
  #watchBody(): void {
    const { bodyTimeoutMilliseconds, bodyBytesPerSecond } = this.#shared;
    const allowed = bodyTimeoutMilliseconds + (this.#bytes / bodyBytesPerSecond) * 1000;
    const left = this.#bodyBegan + allowed - (this.#pausedSince ?? performance.now());
    if (left <= 0) {
      this.#refuse(problems.tooSlow);
    } else {
      this.#client.keepReading();
      this.#timer = setTimeout(() => this.#watchBody(), Math.min(left, renewMilliseconds));
    }
  }

  #onResponse(response: IncomingMessage): void {
    if (!this.#client.open) {
      response.destroy();
      return;
    }
    const status = response.statusCode ?? 0;
    if (status < 200) {
      // No upgrade was asked for: that header is not passed on.
      this.#fail(new Error(`the server answered with status ${status}`));
      return;
    }
    clearTimeout(this.#timer);
    this.#response = response;
    const headers = responseHeaders(response.rawHeaders, response.headers.connection);
    // The body may still be on its way when the response is over, and can't be told from a next request but by
    // reading it. So the client is asked to close. The front does not: closing on unread data resets the connection,
    // and the client might lose the response. What it goes on to send is discarded; under 16 KB/s not for long.
    if (!this.#bodyDone) headers.push(["Connection", "close"]);
    const length = response.headers["content-length"];
    const bodiless = this.#head.method === "HEAD" || status === 204 || status === 304;
    this.#client.begin({
      status,
      reason: response.statusMessage ?? "",
      headers,
      length: length === undefined || status === 204 ? undefined : Number(length),
      bodiless,
    });
    response.on("data", (chunk: Buffer) => {
      if (!this.#client.write(chunk)) response.pause();
    });
    response.on("end", () => this.#client.end());
    response.on("error", (error) => this.#fail(error));
  }

  #onUpstreamError(error: Error): void {
    // With a response under way its own events decide: the server may refuse the rest of a body and answer all the same.
    if (this.#response === undefined) this.#fail(error);
  }

  #fail(error: Error): void {
    if (!this.#client.open) return;
    const { method, path } = this.#head;
    this.#shared.log.warn({ err: error, method, path: path.split("?", 1)[0] }, "request failed behind the front");
    if (this.#client.started) this.#client.close();
    else this.#refuse(problems.unavailable);
  }

  #refuse(problem: Problem): void {
    if (!this.#client.open) return;
    respondProblem(this.#client, problem, { bodiless: this.#head.method === "HEAD", linger: !this.#bodyDone });
  }

  #end(aborted: boolean): void {
    clearTimeout(this.#timer);
    if (aborted || !this.#bodyDone || this.#response === undefined) this.#upstream?.destroy();
    // Its last event gives the connection back to the agent.
    else this.#response.resume();
    this.#shared.exchanges.delete(this);
    if (this.#shared.exchanges.size === 0) this.#shared.onIdle?.();
  }
}

// Reading can't be paused while the response waits for the client; this is the most that may pile up meanwhile.
const maxWaitingBytes = 16 * 1024 * 1024;

function bareClient(res: HttpResponse): FrontClient {
  // A problem is handed over in one piece.
  const patience = { milliseconds: 0, bytesPerSecond: 1 };
  return new FrontClient(res, { onDrain: () => {}, onDone: () => {} }, patience);
}
