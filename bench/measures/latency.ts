import type { Context, Side, Turn } from "../context.js";
import { type Outcome, quantile } from "../report.js";
import { alternate } from "./alternate.js";

const warmUpInserts = 100;
const inserts = 500;
const perSecond = 100;
const jitterMilliseconds = 5;

/** Time from an insert to its frame in an otherwise idle system, one insert at a time. */
export async function latency(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const figures = await alternate(context, "latency", (turn, side) => once(context, turn, side, invalid));
  const part = (name: "median" | "p99") => ({
    floor: figures.floor.map((figure) => figure[name]),
    gateway: figures.gateway.map((figure) => figure[name]),
  });
  const common = { unit: "ms", comparison: "difference" } as const;
  return {
    measurements: [
      { name: "latency", what: "insert to frame, median", ...common, ...part("median"), target: 0.5 },
      { name: "latency", what: "insert to frame, p99", ...common, ...part("p99") },
    ],
    invalid,
    doubts: [],
  };
}

async function once(
  context: Context,
  turn: Turn,
  side: Side,
  invalid: string[],
): Promise<{ median: number; p99: number }> {
  const { operation } = context;
  const writer = await turn.writer(operation);
  const server = await turn.server();
  const load = await turn.load({ port: server.port, connections: 1, sample: true });
  const insert = async (wanted: number) => {
    const changes = Math.ceil(wanted * context.scale);
    await load.call("reset", undefined);
    await writer.call("write", { operation, changes, together: 1, perSecond, jitterMilliseconds });
    const { messages } = await load.call("waitFor", { messages: changes, stallMilliseconds: 3_000 });
    if (messages !== changes) invalid.push(`latency, ${side}: ${messages} of ${changes} messages came`);
    const milliseconds = (await load.call("latencies", undefined)).map((microseconds) => microseconds / 1000);
    return milliseconds.sort((a, b) => a - b);
  };

  await insert(warmUpInserts);
  const sorted = await insert(inserts);
  const figures = { median: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) };
  context.progress(`latency: ${side} median ${figures.median.toFixed(2)} ms, p99 ${figures.p99.toFixed(2)} ms`);
  return figures;
}
