import type { Context, Side, Turn } from "../context.js";
import { collectGarbage, residentBytes } from "../processes.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const connections = 10_000;
/** Opened before, and left open: what a process takes once, whatever the number of connections, is there by then. */
const warmUpConnections = 2_000;
const collectEveryMilliseconds = 400;
/** Settled is what has not moved by more than this for so many collections; and some have to pass in any case. */
const steadyBytes = 300_000;
const steadyCollections = 12;
const leastCollections = 20;
const mostCollections = 100;

/** Resident memory per idle plain connection, beside bare uWebSockets. */
export async function memory(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const figures = await alternate(context, "memory", (turn, side) => once(context, turn, side, invalid));
  return {
    measurements: [
      { name: "memory", what: "resident per idle connection", unit: "KB", ...figures, comparison: "ratio", target: 2 },
    ],
    invalid,
    doubts: [],
  };
}

async function once(context: Context, turn: Turn, side: Side, invalid: string[]): Promise<number> {
  await turn.writer("insert");
  const server = await turn.memoryServer();
  const load = await turn.load({ port: server.port, connections: warmUpConnections });
  const before = await settled(server.pid);
  await load.call("open", { url: `ws://127.0.0.1:${server.port}/ws`, connections });
  const kilobytes = ((await settled(server.pid)) - before) / connections / 1000;
  const { open } = await load.call("counts", undefined);
  if (open !== connections + warmUpConnections) invalid.push(`memory, ${side}: only ${open} connections are open`);
  context.progress(`memory: ${side} ${kilobytes.toFixed(2)} KB`);
  return kilobytes;
}

/**
 * V8 gives back what start-up and handshakes left behind some seconds after they end, all at once, and that is as much as
 * thousands of sockets take. So collections are asked for, until nothing moves any more.
 *
 * @returns resident bytes
 */
async function settled(pid: number): Promise<number> {
  const readings: number[] = [];
  while (readings.length < mostCollections) {
    collectGarbage(pid);
    await new Promise((resolve) => setTimeout(resolve, collectEveryMilliseconds));
    readings.push(residentBytes(pid));
    const last = readings.slice(-steadyCollections);
    const isSteady = Math.max(...last) - Math.min(...last) < steadyBytes;
    if (isSteady && readings.length >= leastCollections) break;
  }
  return readings.at(-1) ?? residentBytes(pid);
}
