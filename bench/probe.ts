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
  /** How often the server cut its connection, which it then opened again. */
  cuts: number;
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
  const probed: Probed = { pings: 0, longestMilliseconds: 0, ownMilliseconds: 0, cuts: 0 };
  while (!signal.aborted) {
    let answered: (isThere: boolean) => void = () => {};
    const listener = { pong: () => answered(true), closed: () => answered(false) };
    const connection = await untilAccepted(() => openConnection(options, listener), signal);
    while (connection !== undefined && connection.closeCode === undefined && !signal.aborted) {
      const sentAt = performance.now();
      const answer = new Promise<boolean>((resolve) => {
        answered = resolve;
      });
      connection.ping();
      if (!(await answer)) break;
      const answeredAt = performance.now();
      probed.pings += 1;
      probed.longestMilliseconds = Math.max(probed.longestMilliseconds, answeredAt - sentAt);
      await delay(everyMilliseconds);
      probed.ownMilliseconds = Math.max(probed.ownMilliseconds, performance.now() - answeredAt - everyMilliseconds);
    }
    if (!signal.aborted) probed.cuts += 1;
    connection?.destroy();
  }
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
