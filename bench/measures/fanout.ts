import type { Context, Side, Turn } from "../context.js";
import type { Counts } from "../load.js";
import { cpuSeconds } from "../processes.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const sockets = 1_000;
const changesPerSecond = 1_000;
const together = 20;
const warmUpSeconds = 3;
const seconds = 8;
const stallMilliseconds = 5_000;

/** CPU of the serving process per delivered message: 1,000 sockets that all get 1,000 changes a second. */
export async function fanout(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const doubts: string[] = [];
  const figures = await alternate(context, "fanout", (turn, side) => once(context, turn, side, { invalid, doubts }));
  return {
    measurements: [
      {
        name: "fanout",
        what: "CPU per delivered message",
        unit: "µs",
        ...figures,
        comparison: "ratio",
        target: 1.15,
      },
    ],
    invalid,
    doubts,
  };
}

async function once(
  context: Context,
  turn: Turn,
  side: Side,
  notes: { invalid: string[]; doubts: string[] },
): Promise<number> {
  const { operation } = context;
  const writer = await turn.writer(operation);
  const server = await turn.server();
  const load = await turn.load({ port: server.port, connections: sockets });
  const send = async (wantedSeconds: number) => {
    const changes = Math.ceil((changesPerSecond * wantedSeconds * context.scale) / together) * together;
    await load.call("reset", undefined);
    const before = cpuSeconds(server.pid);
    const written = await writer.call("write", { operation, changes, together, perSecond: changesPerSecond });
    const drainBegan = performance.now();
    const counts = await load.call("waitFor", { messages: changes, stallMilliseconds });
    const drainSeconds = (performance.now() - drainBegan) / 1000;
    return { changes, counts, written, drainSeconds, cpu: cpuSeconds(server.pid) - before };
  };

  await send(warmUpSeconds);
  const sent = await send(seconds);
  const perMessage = (sent.cpu / (sent.changes * sockets)) * 1e6;
  const shortfall = missing(sent.counts, sent.changes);
  if (shortfall !== undefined) notes.invalid.push(`fanout, ${side}: ${shortfall}`);
  const late = sent.written.lateSeconds + sent.drainSeconds;
  if (late > 0.5) notes.doubts.push(`fanout, ${side}: the last message came ${late.toFixed(1)} s late`);
  const perRead = sent.counts.messages / sent.counts.reads;
  context.progress(
    `fanout: ${side} ${perMessage.toFixed(3)} µs; ${perRead.toFixed(1)} messages a read, ${late.toFixed(2)} s late`,
  );
  return perMessage;
}

/** @returns what did not arrive, or came twice, or undefined when every connection got every message once */
function missing(counts: Counts, changes: number): string | undefined {
  const expected = changes * sockets;
  const closed = Object.entries(counts.closes).map(([code, count]) => `${count} closed with ${code}`);
  if (counts.messages === expected && counts.fewest === changes && counts.most === changes && closed.length === 0) {
    return undefined;
  }
  const difference =
    counts.messages < expected
      ? `${expected - counts.messages} of ${expected} messages are missing`
      : `${counts.messages} messages came instead of ${expected}`;
  return [difference, `a connection got ${counts.fewest} to ${counts.most} of ${changes}`, ...closed].join(", ");
}
