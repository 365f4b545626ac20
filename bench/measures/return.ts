import type { ClientSubscription, Standing } from "../clients.js";
import { monotonicMicroseconds } from "../clock.js";
import type { Context, Side, Turn, Writer } from "../context.js";
import { describeFaults } from "../follower.js";
import { userId } from "../items.js";
import type { Outcome } from "../report.js";
import { signToken } from "../tokens.js";
import { alternate } from "./alternate.js";

const clientCount = 5_000;
const viewCount = 500;
const changesPerSecond = 200;
/** How long is written before the kill, and after all are back. */
const secondsAround = 3;
const jitterMilliseconds = 1_000;
const limitMilliseconds = 90_000;
const stallMilliseconds = 10_000;
/** What a view may be read with: its rows or ids, or what is known of its collection. */
const reads = [
  "find items",
  "aggregate items",
  "count items",
  "distinct items",
  "listIndexes items",
  "listCollections",
];

interface Figures {
  seconds: number;
  readsPerView: number;
  longestMilliseconds: number;
}

/**
 * The gateway is killed under 200 changes a second and started again; 5,000 clients in 500 views come back, all within a
 * second of the moment at which the port is open, each with the position that it holds.
 */
export async function returning(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const doubts: string[] = [];
  const figures = await alternate(context, "return", (turn, side) => once(context, turn, side, { invalid, doubts }));
  const of = (name: keyof Figures) => ({
    floor: figures.floor.map((figure) => figure[name]),
    gateway: figures.gateway.map((figure) => figure[name]),
  });
  const common = { name: "return", comparison: "figure" } as const;
  return {
    measurements: [
      { ...common, what: "restart until all are ready", unit: "s", ...of("seconds"), target: 10 },
      { ...common, what: "longest stall meanwhile", unit: "ms", ...of("longestMilliseconds"), target: 200 },
      { ...common, what: "database reads per view", unit: "reads", ...of("readsPerView"), floor: [], target: 1 },
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
): Promise<Figures> {
  const isFloor = side === "floor" || context.selfCheck;
  const wanted = Math.ceil(clientCount * context.scale);
  const views = Math.ceil(viewCount * context.scale);
  const writer = await turn.writer(context.operation, { users: { count: views }, images: true });
  const proxy = isFloor ? undefined : await turn.countingProxy();
  const uri = proxy === undefined ? {} : { uri: proxy.uri };
  const server = await turn.bareServer({ read: { "user.id": "$user.sub" }, tokens: true, ...uri });
  const clients = turn.clients();
  await clients.call("open", {
    url: `ws://127.0.0.1:${server.port}/ws`,
    ...(isFloor ? { plain: wanted } : { subscriptions: await subscriptionsOf(wanted, views) }),
  });

  const writing = write(writer, context);
  // What else may fail first is told instead.
  writing.catch(() => undefined);
  await seconds(secondsAround);
  const probe = turn.probe();
  const restartedAt = monotonicMicroseconds();
  await server.killAndRestart();
  await probe.call("begin", { url: `ws://127.0.0.1:${server.port}/ws`, ...(await probeOptions(isFloor)) });
  const listeningAt = await clients.call("untilListening", { limitMilliseconds });
  proxy?.counts();
  const returned = await clients.call("comeBack", { jitterMilliseconds, limitMilliseconds });
  const commands = proxy?.counts() ?? {};
  await seconds(secondsAround);
  const probed = await probe.call("end", undefined);
  await writer.call("stop", undefined);
  const written = await writing;
  const each = await completeRound(context, writer, written.changes, views);

  const standing = isFloor ? undefined : await clients.call("waitFor", { changes: each, stallMilliseconds });
  for (const text of wrongWith(standing, wanted, each)) notes.invalid.push(`return, ${side}: ${text}`);
  if (written.lateSeconds > 1)
    notes.doubts.push(`return, ${side}: the writer was ${written.lateSeconds.toFixed(1)} s late`);
  if (probed.ownMilliseconds > 100) {
    notes.doubts.push(`return, ${side}: the probe itself came ${probed.ownMilliseconds.toFixed(0)} ms late`);
  }
  if (probed.cuts > 0) notes.doubts.push(`return, ${side}: the probe was cut off ${probed.cuts} times`);
  if (returned.retries > 0) notes.doubts.push(`return, ${side}: ${returned.retries} connections had to be made again`);
  const readCount = reads.reduce((total, name) => total + (commands[name] ?? 0), 0);
  const readyAfter = (returned.readyAt - restartedAt) / 1e6;
  const listening = (listeningAt - restartedAt) / 1e6;
  context.progress(
    `return: ${side} ready after ${readyAfter.toFixed(2)} s, ${listening.toFixed(2)} s of it until it listened; ` +
      `longest answer ${probed.longestMilliseconds.toFixed(0)} ms of ${probed.pings}; ${returned.retries} retries; ` +
      `commands: ${JSON.stringify(commands)}`,
  );
  return { seconds: readyAfter, readsPerView: readCount / views, longestMilliseconds: probed.longestMilliseconds };
}

function write(writer: Writer, { operation }: Context) {
  const changes = changesPerSecond * ((2 * limitMilliseconds) / 1000);
  return writer.call("write", { operation, changes, together: 1, perSecond: changesPerSecond });
}

/**
 * Users have changes in turn: with full rounds each has as many as the others.
 *
 * @returns how many each user has
 */
async function completeRound({ operation }: Context, writer: Writer, written: number, users: number): Promise<number> {
  const rounds = Math.ceil(written / (2 * users)) * 2;
  const missing = rounds * users - written;
  if (missing > 0)
    await writer.call("write", { operation, changes: missing, together: 1, perSecond: changesPerSecond });
  return rounds;
}

async function subscriptionsOf(clients: number, views: number): Promise<ClientSubscription[]> {
  const users = Array.from({ length: views }, (_, index) => userId(index));
  const tokens = await Promise.all(users.map(signToken));
  return Array.from({ length: clients }, (_, index) => ({
    interface: "items",
    token: tokens[index % views] as string,
    user: users[index % views] as string,
  }));
}

/** A connection that subscribes to nothing: it makes no view. */
async function probeOptions(isFloor: boolean): Promise<{ protocol?: string; token?: string }> {
  return isFloor ? {} : { protocol: "tailgate.v1", token: await signToken("probe") };
}

function wrongWith(standing: Standing | undefined, clients: number, changes: number): string[] {
  if (standing === undefined) return [];
  const wrong = describeFaults(standing.faults);
  if (standing.ready !== clients) wrong.push(`${clients - standing.ready} of ${clients} clients are not ready`);
  if (standing.fewest !== changes || standing.most !== changes) {
    wrong.push(`a client got ${standing.fewest} to ${standing.most} of ${changes} changes`);
  }
  return wrong;
}

function seconds(count: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, count * 1000));
}
