import type { Context, GatewayOptions, Side, Turn } from "../context.js";
import { describeFaults } from "../follower.js";
import { userId } from "../items.js";
import type { LoadClient } from "../load.js";
import { collectGarbage, metric, residentBytes } from "../processes.js";
import type { Outcome } from "../report.js";
import { signToken } from "../tokens.js";
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

/** Who is connected: the floor has plain connections in either case. */
interface Kind {
  readonly name: string;
  readonly what: string;
  readonly target: number;
  readonly gateway: GatewayOptions;
  /** The connections that are to be there before, and those that are counted. */
  readonly clients: () => Promise<{ before?: LoadClient[]; counted?: LoadClient[] }>;
}

const idle: Kind = {
  name: "memory",
  what: "resident per idle connection",
  target: 2,
  gateway: {},
  clients: async () => ({}),
};

const countedViews = 1_000;
const earlierViews = 200;

const subscribing: Kind = {
  name: "memory-subscribed",
  what: "resident per subscribed connection",
  target: 3,
  gateway: { read: { "user.id": "$user.sub" }, tokens: true },
  async clients() {
    const users = Array.from({ length: countedViews + earlierViews }, (_, index) => userId(index));
    const clients = await Promise.all(
      users.map(async (id) => ({ token: await signToken(id), subscriptions: [{ id, filter: { state: "running" } }] })),
    );
    return { before: clients.slice(countedViews), counted: clients.slice(0, countedViews) };
  },
};

/** Resident memory per idle plain connection, beside bare uWebSockets. */
export function memory(context: Context): Promise<Outcome> {
  return compare(context, idle);
}

/** Resident memory per connection with one subscription, ten in each of 1,000 views, beside bare uWebSockets. */
export function memorySubscribed(context: Context): Promise<Outcome> {
  return compare(context, subscribing);
}

async function compare(context: Context, kind: Kind): Promise<Outcome> {
  const { name, what, target } = kind;
  const invalid: string[] = [];
  const figures = await alternate(context, name, (turn, side) => once(context, kind, turn, side, invalid));
  return {
    measurements: [{ name, what, unit: "KB", ...figures, comparison: "ratio", target }],
    invalid,
    doubts: [],
  };
}

async function once(context: Context, kind: Kind, turn: Turn, side: Side, invalid: string[]): Promise<number> {
  const { name } = kind;
  await turn.writer("insert", { images: true });
  const server = await turn.bareServer(kind.gateway);
  const isFloor = side === "floor" || context.selfCheck;
  const { before: early, counted }: Awaited<ReturnType<Kind["clients"]>> = isFloor ? {} : await kind.clients();
  const load = await turn.load({
    port: server.port,
    connections: warmUpConnections,
    ...(early && { clients: early, follow: warmUpConnections }),
  });
  const before = await settled(server.pid);
  await load.call("open", {
    url: `ws://127.0.0.1:${server.port}/ws`,
    connections,
    ...(counted && { clients: counted, follow: connections }),
  });
  const kilobytes = ((await settled(server.pid)) - before) / connections / 1000;
  const { open, followed } = await load.call("counts", undefined);
  if (open !== connections + warmUpConnections) invalid.push(`${name}, ${side}: only ${open} connections are open`);
  const views = early === undefined ? undefined : await metric(server.port, "tailgate_views");
  if (views !== undefined && views !== countedViews + earlierViews)
    invalid.push(`${name}, ${side}: there are ${views} views`);
  for (const text of describeFaults(followed.faults)) invalid.push(`${name}, ${side}: ${text}`);
  context.progress(`${name}: ${side} ${kilobytes.toFixed(2)} KB`);
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
