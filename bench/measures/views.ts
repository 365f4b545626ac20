import type { Context, Server, Side, Turn } from "../context.js";
import { describeFaults } from "../follower.js";
import { userId } from "../items.js";
import type { LoadClient } from "../load.js";
import { collectGarbage, cpuSeconds, metric } from "../processes.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const connections = 100;
const viewsPerConnection = 1_000;
const changesPerSecond = 1_000;
const together = 20;
/** Not shortened for a quick look: a process that has just started, with one view, pays for its compilation. */
const warmUpSeconds = 6;
const seconds = 8;
const stallMilliseconds = 5_000;
/** What so many subscriptions take at first; they are made a few connections at a time. */
const concurrency = 4;
const joinMilliseconds = 120_000;
const settleMilliseconds = 2_000;

interface Notes {
  invalid: string[];
  doubts: string[];
}

/**
 * CPU cost of a change with 100,000 views `{ "user.id": … }`, beside the same gateway with one. On either side a change is in
 * exactly one view, and those that are written together are in views of one connection, so that the sockets' part is the same.
 */
export async function views(context: Context): Promise<Outcome> {
  const notes: Notes = { invalid: [], doubts: [] };
  const figures = await alternate(context, "views", (turn, side) => once(context, turn, side, notes));
  return {
    measurements: [
      {
        name: "views",
        what: "CPU per change, beside one view",
        unit: "µs",
        ...figures,
        comparison: "ratio",
        target: 2,
      },
    ],
    ...notes,
  };
}

async function once(context: Context, turn: Turn, side: Side, notes: Notes): Promise<number> {
  const { operation } = context;
  const isMany = side === "gateway" && !context.selfCheck;
  const parts = isMany ? connections : 1;
  const perPart = isMany ? Math.ceil(viewsPerConnection * context.scale) : 1;
  const users = { count: parts * perPart, scattered: { together, parts } };
  const writer = await turn.writer(operation, { users, images: true });
  const server = await turn.gateway({
    limits: { subscriptionsPerConnection: viewsPerConnection, messagesPerMinute: 10 * viewsPerConnection },
  });
  const began = performance.now();
  const load = await turn.load({
    port: server.port,
    connections: parts,
    concurrency,
    joinMilliseconds,
    clients: clientsOf(parts, perPart),
    follow: parts,
  });
  const subscribeSeconds = (performance.now() - began) / 1000;
  const made = await metric(server.port, "tailgate_views");
  if (made !== parts * perPart)
    notes.invalid.push(`views, ${side}: there are ${made} views instead of ${parts * perPart}`);
  await settle(server);

  let taken = 0;
  const send = async (wantedSeconds: number) => {
    const changes = Math.ceil((changesPerSecond * wantedSeconds) / together) * together;
    const before = cpuSeconds(server.pid);
    const written = await writer.call("write", { operation, changes, together, perSecond: changesPerSecond });
    taken += changes;
    const followed = await load.call("waitForFollowed", { changes: taken, stallMilliseconds });
    return { changes, written, followed, cpu: cpuSeconds(server.pid) - before };
  };
  await send(warmUpSeconds);
  const { changes, written, followed, cpu } = await send(seconds * context.scale);
  const wrong = describeFaults(followed.faults);
  if (followed.changes !== taken) wrong.push(`${followed.changes} of ${taken} changes arrived`);
  for (const text of wrong) notes.invalid.push(`views, ${side}: ${text}`);
  if (written.lateSeconds > 0.5)
    notes.doubts.push(`views, ${side}: the writer was ${written.lateSeconds.toFixed(1)} s late`);
  const perChange = (cpu / changes) * 1e6;
  context.progress(
    `views: ${side} ${perChange.toFixed(1)} µs; ${parts * perPart} views were there after ${subscribeSeconds.toFixed(1)} s`,
  );
  return perChange;
}

function clientsOf(parts: number, perPart: number): LoadClient[] {
  return Array.from({ length: parts }, (_, part) => ({
    subscriptions: Array.from({ length: perPart }, (_, index) => {
      const id = userId(part * perPart + index);
      return { id, filter: { "user.id": id } };
    }),
  }));
}

/** What making the views left behind is not to be paid for by the changes. */
async function settle(server: Server): Promise<void> {
  collectGarbage(server.pid);
  await new Promise((resolve) => setTimeout(resolve, settleMilliseconds));
}
