import type { Context, GatewayOptions, Side, Turn } from "../context.js";
import { describeFaults } from "../follower.js";
import { userId } from "../items.js";
import type { Counts, OpenOptions } from "../load.js";
import { cpuSeconds } from "../processes.js";
import type { Outcome } from "../report.js";
import { signToken } from "../tokens.js";
import type { PrepareOptions } from "../writer.js";
import { alternate } from "./alternate.js";

const sockets = 1_000;
const changesPerSecond = 1_000;
const together = 20;
const warmUpSeconds = 3;
const seconds = 8;
/** More than that at a time means that the server, the database or the load generator fell behind: that makes it cheap. */
const mostPerRead = 1.5 * together;
const stallMilliseconds = 5_000;
/** Of the connections that subscribe, so many also check that each change is theirs, and that none is left out or repeated. */
const followed = 10;
/** A change is longer than this, and every notice of `tailgate.v1` shorter. */
const shortestChange = 320;

/** Who listens to what. The floor has the same changes and plain connections in either case. */
interface Audience {
  readonly name: string;
  readonly target: number;
  readonly documents: Omit<PrepareOptions, "operation">;
  readonly gateway: GatewayOptions;
  readonly load: () => Promise<Pick<OpenOptions, "clients" | "follow" | "smallBelowBytes">>;
}

const everyone: Audience = {
  name: "fanout",
  target: 1.15,
  documents: {},
  gateway: {},
  load: async () => ({}),
};

const oneFilteredView: Audience = {
  name: "subscribed",
  target: 1.2,
  documents: { users: { count: 1 }, images: true },
  gateway: { read: { "user.id": "$user.sub" }, tokens: true, limits: { connectionsPerUser: sockets } },
  async load() {
    const user = userId(0);
    const client = { token: await signToken(user), subscriptions: [{ id: user, filter: { state: "running" } }] };
    return { clients: [client], follow: followed, smallBelowBytes: shortestChange };
  },
};

/** CPU of the serving process per delivered message: 1,000 sockets that all get 1,000 changes a second. */
export function fanout(context: Context): Promise<Outcome> {
  return deliver(context, everyone);
}

/** The same with subscriptions, all in one view that a rule and a filter of the client limit. */
export function subscribed(context: Context): Promise<Outcome> {
  return deliver(context, oneFilteredView);
}

async function deliver(context: Context, audience: Audience): Promise<Outcome> {
  const { name, target } = audience;
  const notes: Notes = { invalid: [], doubts: [] };
  const figures = await alternate(context, name, (turn, side) => once(context, audience, turn, side, notes));
  return {
    measurements: [{ name, what: "CPU per delivered message", unit: "µs", ...figures, comparison: "ratio", target }],
    ...notes,
  };
}

interface Notes {
  invalid: string[];
  doubts: string[];
}

async function once(context: Context, audience: Audience, turn: Turn, side: Side, notes: Notes): Promise<number> {
  const { operation } = context;
  const { name } = audience;
  const isFloor = side === "floor" || context.selfCheck;
  const writer = await turn.writer(operation, audience.documents);
  const server = await turn.server(audience.gateway);
  const audienceLoad = isFloor ? {} : await audience.load();
  const load = await turn.load({ port: server.port, connections: sockets, ...audienceLoad });
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
  if (shortfall !== undefined) notes.invalid.push(`${name}, ${side}: ${shortfall}`);
  const late = sent.written.lateSeconds + sent.drainSeconds;
  if (late > 0.5) notes.doubts.push(`${name}, ${side}: the last message came ${late.toFixed(1)} s late`);
  const perRead = sent.counts.messages / sent.counts.reads;
  if (perRead > mostPerRead) {
    notes.doubts.push(`${name}, ${side}: ${perRead.toFixed(1)} messages came at a time instead of ${together}`);
  }
  context.progress(
    `${name}: ${side} ${perMessage.toFixed(3)} µs; ${perRead.toFixed(1)} messages a read, ${late.toFixed(2)} s late`,
  );
  return perMessage;
}

/** @returns what did not arrive, or came twice, or undefined when every connection got every message once */
function missing(counts: Counts, changes: number): string | undefined {
  const expected = changes * sockets;
  const { connections, changes: followedChanges, faults } = counts.followed;
  const wrong = describeFaults(faults);
  if (connections > 0 && followedChanges < connections * changes)
    wrong.push("followed connections took too few changes");
  const closed = Object.entries(counts.closes).map(([code, count]) => `${count} closed with ${code}`);
  if (counts.messages === expected && counts.fewest === changes && counts.most === changes && closed.length === 0) {
    return wrong.length === 0 ? undefined : wrong.join(", ");
  }
  const difference =
    counts.messages < expected
      ? `${expected - counts.messages} of ${expected} messages are missing`
      : `${counts.messages} messages came instead of ${expected}`;
  return [difference, `a connection got ${counts.fewest} to ${counts.most} of ${changes}`, ...closed, ...wrong].join(
    ", ",
  );
}
