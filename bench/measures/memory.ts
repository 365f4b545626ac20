import type { Context, Side, Turn } from "../context.js";
import { collectGarbage, residentBytes } from "../processes.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const connections = 10_000;
/** Opened before, and left open: what a process takes once, whatever the number of connections, is there by then. */
const warmUpConnections = 2_000;
/** After some collections V8 also drops code that was not used for a while: fewer would leave it half done. */
const collections = 8;
const settleMilliseconds = 400;

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
 * V8 collects the garbage of start-up and handshakes some 10 s or more after they end, all at once, and what it gives back
 * then is more than 10,000 sockets take. So collections are asked for rather than waited for.
 *
 * @returns resident bytes
 */
async function settled(pid: number): Promise<number> {
  for (let collection = 0; collection < collections; collection++) {
    collectGarbage(pid);
    await new Promise((resolve) => setTimeout(resolve, settleMilliseconds));
  }
  return residentBytes(pid);
}
