import { monotonicMicroseconds } from "../clock.js";
import type { Context, Side, Turn } from "../context.js";
import { describeFaults } from "../follower.js";
import { metric } from "../processes.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const missedChanges = 100_000;
const together = 500;
/** So small that the gateway has to read what was missed from the oplog. */
const ringEvents = 1_000;
const limitMilliseconds = 60_000;
const stallMilliseconds = 20_000;

/** Time per change that a client has missed, replayed from the oplog, beside the driver's bare loop from the same place. */
export async function replay(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const figures = await alternate(context, "replay", (turn, side) => {
    const isFloor = side === "floor" || context.selfCheck;
    return isFloor ? floor(context, turn) : gateway(context, turn, invalid);
  });
  return {
    measurements: [
      { name: "replay", what: "time per missed change", unit: "µs", ...figures, comparison: "ratio", target: 2 },
    ],
    invalid,
    doubts: [],
  };
}

async function floor(context: Context, turn: Turn): Promise<number> {
  const { operation } = context;
  const changes = Math.ceil(missedChanges * context.scale);
  const writer = await turn.writer(operation);
  const from = await writer.call("clusterTime", undefined);
  await writer.call("write", { operation, changes, together });
  const milliseconds = await turn.floorReplay().call("replay", { ...from, changes });
  return figure(context, "floor", changes, milliseconds * 1000);
}

async function gateway(context: Context, turn: Turn, invalid: string[]): Promise<number> {
  const { operation } = context;
  const changes = Math.ceil(missedChanges * context.scale);
  const writer = await turn.writer(operation);
  const server = await turn.server({ history: { events: ringEvents, replayLimit: 2 * missedChanges } });
  const clients = turn.clients();
  await clients.call("open", {
    url: `ws://127.0.0.1:${server.port}/ws`,
    subscriptions: [{ interface: "items", snapshot: false }],
  });
  await clients.call("leave", undefined);
  await writer.call("write", { operation, changes, together });
  await caughtUp(server.port, context, changes);

  const began = monotonicMicroseconds();
  await clients.call("comeBack", { jitterMilliseconds: 0, limitMilliseconds });
  const replayed = await clients.call("waitFor", { changes, stallMilliseconds });
  // What is written now has to follow what was replayed, without a gap.
  await writer.call("write", { operation, changes: 1, together: 1 });
  const { faults, changes: taken } = await clients.call("waitFor", { changes: changes + 1, stallMilliseconds });
  const wrong = describeFaults(faults);
  if (taken !== changes + 1) wrong.push(`the client got ${taken} of ${changes + 1} changes`);
  for (const text of wrong) invalid.push(`replay, gateway: ${text}`);
  return wrong.length > 0 ? Number.NaN : figure(context, "gateway", changes, replayed.at - began);
}

function figure(context: Context, side: Side, changes: number, microseconds: number): number {
  const perChange = microseconds / changes;
  context.progress(
    `replay: ${side} ${perChange.toFixed(1)} µs, ${((1e6 * changes) / microseconds).toFixed(0)} a second`,
  );
  return perChange;
}

/** The gateway's own stream is to be through with what was written before the client comes and asks for it again. */
async function caughtUp(port: number, { operation }: Context, changes: number): Promise<void> {
  const deadline = performance.now() + limitMilliseconds;
  while ((await metric(port, `tailgate_changes_total{interface="items",operation="${operation}"}`)) < changes) {
    if (performance.now() > deadline) throw new Error("the gateway did not take in what was written");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
