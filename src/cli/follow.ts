import { STATUS_CODES } from "node:http";
import WebSocket from "ws";
import { TailgateError } from "../errors.js";
import { closeCodes } from "../message.js";
import { createBackoff, sleep } from "../retry.js";
import type { Lines } from "./lines.js";
import type { Mode } from "./modes.js";

/** A gateway that is only just starting is waited for this long, in milliseconds. */
const firstContactMilliseconds = 5_000;
const firstContactPauseMilliseconds = 250;
/** The gateway pings within a minute; a connection that is silent for longer than this is dead. */
const silenceMilliseconds = 90_000;
/** "At once" spreads the clients of a gateway that stopped over this long. */
const jitterMilliseconds = 1_000;
/** After "too fast" and "too late", in milliseconds, and as much again at random. */
const pauseMilliseconds = 10_000;
/** A connection that lived shorter than this has not worked: trying again at once could go on for ever. */
const workedMilliseconds = 2_000;

export interface FollowOptions {
  readonly url: URL;
  readonly token: string | undefined;
  readonly mode: Mode;
  readonly lines: Lines;
  /** Tells the person what happens to the connection. */
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

/** How a connection ended. */
interface Ending {
  readonly opened: boolean;
  readonly code: number;
  readonly reason: string;
  /** The HTTP status, where the answer was no websocket. */
  readonly status: number | undefined;
  readonly error: Error | undefined;
  readonly lastedMilliseconds: number;
}

/**
 * Follows a gateway and prints what it sends, over any number of connections, until the signal aborts.
 *
 * @throws TailgateError where connecting again is of no use
 */
export async function follow(options: FollowOptions): Promise<void> {
  const { mode, note, signal, url } = options;
  const backoff = createBackoff({ baseMilliseconds: 2_000, maxMilliseconds: 30_000, floorMilliseconds: 1_000 });
  const firstContactEnds = performance.now() + firstContactMilliseconds;
  let contact = false;
  let waiting = false;
  while (!signal.aborted) {
    const ending = await connection(options);
    if (signal.aborted) return;
    contact ||= ending.opened;
    if (ending.error instanceof TailgateError) throw ending.error;
    if (!mayRetry(ending)) throw refusal(ending, options);
    if (!contact) {
      const why = statusOf(ending) ?? reasonOf(ending) ?? `closed with ${ending.code}`;
      if (performance.now() > firstContactEnds) {
        throw new TailgateError("gateway-unreachable", `no gateway answers at ${shown(url)}: ${why}`);
      }
      if (!waiting) note(`no gateway answers at ${shown(url)} yet (${why}), trying for a few seconds`);
      waiting = true;
      await sleep(firstContactPauseMilliseconds, signal);
      continue;
    }
    if (ending.lastedMilliseconds > workedMilliseconds) backoff.reset();
    const wait = pauseAfter(ending, backoff.next());
    const missed = mode.resumes ? "" : "; changes may have been missed in between";
    if (ending.opened) note(`connection closed (${describe(ending)}), connecting again${missed}`);
    await sleep(wait, signal);
  }
}

/** One connection, from the attempt to its end; it never rejects. */
function connection(options: FollowOptions): Promise<Ending> {
  const { mode, note, signal, url } = options;
  const socket = open(options);
  return new Promise((resolve) => {
    let openedAt: number | undefined;
    let status: number | undefined;
    let error: Error | undefined;
    const watchdog = watchSilence(socket);
    const end = (): void => {
      socket.close(1000);
      setTimeout(() => socket.terminate(), 500).unref();
    };
    signal.addEventListener("abort", end, { once: true });
    socket.on("open", () => {
      openedAt = performance.now();
      note(`connected to ${shown(url)}`);
      for (const message of mode.greeting()) socket.send(message);
    });
    socket.on("message", (data) => {
      // Once the end was asked for, nothing more is printed.
      if (socket.readyState !== WebSocket.OPEN) return;
      try {
        receive(String(data), socket, options);
      } catch (thrown) {
        error = thrown instanceof TailgateError ? thrown : unreadable(thrown);
        end();
      }
    });
    socket.on("unexpected-response", (_request, response) => {
      status = response.statusCode;
      socket.terminate();
    });
    socket.on("error", (thrown) => {
      error ??= thrown;
    });
    socket.on("close", (code, reason) => {
      clearTimeout(watchdog);
      signal.removeEventListener("abort", end);
      const lastedMilliseconds = openedAt === undefined ? 0 : performance.now() - openedAt;
      resolve({ opened: openedAt !== undefined, code, reason: String(reason), status, error, lastedMilliseconds });
    });
  });
}

function open({ mode, token, url }: FollowOptions): WebSocket {
  return new WebSocket(mode.address(url), mode.protocol === undefined ? [] : [mode.protocol], {
    // In a header, for addresses are kept in logs.
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    handshakeTimeout: 10_000,
  });
}

/** @throws what the mode throws */
function receive(text: string, socket: WebSocket, { mode, lines }: FollowOptions): void {
  const { line, answers = [] } = mode.receive(text);
  for (const answer of answers) socket.send(answer);
  if (line === undefined || lines.write(line) || socket.isPaused) return;
  socket.pause();
  lines.onceDrained(() => socket.resume());
}

function watchSilence(socket: WebSocket): NodeJS.Timeout {
  const timer = setTimeout(() => {
    // A reader that is behind keeps the socket from being read: that is no silence of the gateway's.
    if (socket.isPaused) timer.refresh();
    else socket.terminate();
  }, silenceMilliseconds);
  socket.on("ping", () => timer.refresh()).on("message", () => timer.refresh());
  return timer;
}

/** Codes of the websocket protocol itself are accidents of networks and proxies, save those that blame the client. */
function mayRetry({ code, opened, status }: Ending): boolean {
  if (!opened && status !== undefined) return [429, 502, 503, 504].includes(status);
  const blame = [1002, 1003, 1007, 1008, 1009, 1010];
  const temporary: number[] = [
    closeCodes.authenticationTimeout,
    closeCodes.tooMany,
    closeCodes.internal,
    closeCodes.tooSlow,
    closeCodes.reset,
  ];
  return code < 4000 ? !blame.includes(code) : temporary.includes(code);
}

/** In milliseconds. */
function pauseAfter({ code, lastedMilliseconds }: Ending, backoffMilliseconds: number): number {
  if (code === closeCodes.authenticationTimeout || code === closeCodes.tooMany) {
    return pauseMilliseconds * (1 + Math.random());
  }
  const atOnce = code === closeCodes.goingAway || code === closeCodes.reset;
  if (!atOnce || lastedMilliseconds < workedMilliseconds) return backoffMilliseconds;
  return code === closeCodes.reset ? 0 : Math.random() * jitterMilliseconds;
}

function refusal(ending: Ending, { mode, token, url }: FollowOptions): TailgateError {
  const { code } = ending;
  if (code === closeCodes.unknownSubprotocol && mode.protocol !== undefined) {
    return new TailgateError(
      "unknown-subprotocol",
      `the gateway at ${shown(url)} does not speak ${mode.protocol}, which --filter and --since need; without them it can be followed`,
    );
  }
  if (ending.status !== undefined) {
    return new TailgateError(
      "no-websocket",
      `no websocket at ${shown(url)}: ${statusOf(ending)}. A gateway's address ends in /ws`,
    );
  }
  const advice = code === closeCodes.unauthorized && token === undefined ? "; --token says who you are" : "";
  return new TailgateError("closed", `the gateway at ${shown(url)} refuses: ${describe(ending)}${advice}`);
}

function unreadable(error: unknown): TailgateError {
  return new TailgateError("unreadable", `what the gateway sent can't be read: ${(error as Error).message}`, {
    cause: error,
  });
}

function describe(ending: Ending): string {
  const why = reasonOf(ending);
  return why === undefined ? String(ending.code) : `${ending.code}: ${why}`;
}

function reasonOf({ error, reason }: Ending): string | undefined {
  // Where a name has several addresses, the error of all of them has a code but no text.
  return reason || error?.message || (error as NodeJS.ErrnoException | undefined)?.code;
}

function statusOf({ status }: Ending): string | undefined {
  return status === undefined ? undefined : `HTTP ${status} ${STATUS_CODES[status] ?? ""}`.trim();
}

/** Without the query, where a token may be. */
function shown(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}
