/**
 * Finds out how long a server's event loop stands still, from outside: one websocket that pings it again and again. An
 * answer comes only when the loop gets round to it. A process of its own, so that nothing else delays it but the machine.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type ConnectionOptions, openConnection } from "./connection.js";
import { answer } from "./rpc.js";

const everyMilliseconds = 5;

export interface Probed {
  pings: number;
  /** The longest that an answer took. */
  longestMilliseconds: number;
  /** The longest that this process itself came late: more than a fraction of the other makes that one doubtful. */
  ownMilliseconds: number;
}

let end: (() => Promise<Probed>) | undefined;

export const methods = {
  /** Begins as soon as the server accepts it, and goes on until `end`. */
  begin(options: ConnectionOptions): void {
    const ending = new AbortController();
    const probing = probe(options, ending.signal);
    end = () => {
      ending.abort();
      return probing;
    };
  },

  end(): Promise<Probed> {
    if (end === undefined) throw new Error("the probe did not begin");
    return end();
  },
};

async function probe(options: ConnectionOptions, signal: AbortSignal): Promise<Probed> {
  const probed: Probed = { pings: 0, longestMilliseconds: 0, ownMilliseconds: 0 };
  let answered: () => void = () => {};
  let lost = () => {};
  const closed = new Promise<never>((_, reject) => {
    lost = () => reject(new Error("the server closed the probe's connection"));
  });
  closed.catch(() => undefined);
  const open = () => openConnection(options, { pong: () => answered(), closed: lost });
  const connection = await untilAccepted(open, signal);
  while (connection !== undefined && !signal.aborted) {
    const sentAt = performance.now();
    const pong = new Promise<void>((resolve) => {
      answered = resolve;
    });
    connection.ping();
    await Promise.race([pong, closed]);
    const answeredAt = performance.now();
    probed.pings += 1;
    probed.longestMilliseconds = Math.max(probed.longestMilliseconds, answeredAt - sentAt);
    await delay(everyMilliseconds);
    probed.ownMilliseconds = Math.max(probed.ownMilliseconds, performance.now() - answeredAt - everyMilliseconds);
  }
  connection?.destroy();
  return probed;
}

async function untilAccepted<T>(open: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  while (!signal.aborted) {
    try {
      return await open();
    } catch {
      // It does not listen yet.
      await delay(everyMilliseconds);
    }
  }
  return undefined;
}

answer(methods);
