/**
 * The load generator: opens websocket connections on plain TCP sockets and counts what arrives. A process of its own, so
 * that its work is not in the figures of what it measures.
 *
 * Alone: npx tsx bench/load.ts --url ws://127.0.0.1:8080/ws --connections 1000   prints a line of JSON each second.
 */
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { type Connection, type ConnectionOptions, openConnection } from "./connection.js";
import { addFaults, type Faults, Follower } from "./follower.js";
import { answer } from "./rpc.js";

export interface OpenOptions extends ConnectionOptions {
  connections: number;
  /** How many handshakes are under way at a time; 100 by default. */
  concurrency?: number;
  /** What is not the same for all: the connections take these in turn. */
  clients?: readonly LoadClient[];
  /** So many of them, the first ones, read what comes and check it as `follower.ts` does. */
  follow?: number;
}

export interface LoadClient {
  token?: string;
  /** What the connection subscribes to, each under the id of the user whose documents are to come. */
  subscriptions: readonly { id: string; filter?: unknown }[];
}

export interface Counts {
  /** Connections that are open now. */
  open: number;
  /** Messages on all connections together, and on those that got the fewest and the most. */
  messages: number;
  fewest: number;
  most: number;
  /** Messages below `smallBelowBytes`. */
  small: number;
  payloadBytes: number;
  /** Reads from sockets; messages per read say how well the sender gathered its writes. */
  reads: number;
  /** How often each close code came; 1006 where there was none. */
  closes: Record<string, number>;
  /** Changes that the followed connections took, and what they found wrong since they were opened. */
  followed: { connections: number; changes: number; faults: Faults };
}

const connections: Connection[] = [];
const followers: Follower[] = [];

export const methods = {
  /** Opens connections beside those that are open, and returns when all of them have joined. */
  async open(options: OpenOptions): Promise<void> {
    let opened = 0;
    const openSome = async () => {
      while (opened < options.connections) connections.push(await openOne(options, opened++));
    };
    const lanes = Math.min(options.concurrency ?? 100, options.connections);
    await Promise.all(Array.from({ length: lanes }, openSome));
  },

  reset(): void {
    for (const connection of connections) connection.reset();
  },

  counts,

  /**
   * Waits until every connection has so many messages since the last `reset`, or until nothing has come for a while.
   *
   * @returns the counts at that moment
   */
  async waitFor(wanted: { messages: number; stallMilliseconds: number }): Promise<Counts> {
    let before = counts();
    let lastProgress = performance.now();
    for (;;) {
      const now = counts();
      if (now.fewest >= wanted.messages) return now;
      if (now.messages > before.messages) lastProgress = performance.now();
      if (performance.now() - lastProgress > wanted.stallMilliseconds) return now;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },

  /** Waits until the followed connections together have taken so many changes, or until nothing has come for a while. */
  async waitForFollowed(wanted: { changes: number; stallMilliseconds: number }): Promise<Counts["followed"]> {
    let before = counts().followed.changes;
    let lastProgress = performance.now();
    for (;;) {
      const { followed } = counts();
      if (followed.changes >= wanted.changes) return followed;
      if (followed.changes > before) lastProgress = performance.now();
      if (performance.now() - lastProgress > wanted.stallMilliseconds) return followed;
      before = followed.changes;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  },

  /** Microseconds from write to read of every message since the last `reset`, where `sample` was asked for. */
  latencies(): number[] {
    return connections.flatMap((connection) => connection.latencies);
  },

  close(): void {
    for (const connection of connections) connection.destroy();
    connections.length = 0;
    followers.length = 0;
  },
};

/** @param index - of the connection among those that are opened together */
function openOne(options: OpenOptions, index: number): Promise<Connection> {
  const { clients, follow = 0, ...common } = options;
  const client = clients?.[index % clients.length];
  if (client === undefined) return openConnection(common);
  const follower = new Follower(belongsToUser);
  const messages = client.subscriptions.map(({ id, filter }) =>
    follower.subscribe(id, { interface: "items", snapshot: false, ...(filter !== undefined && { filter }) }),
  );
  const isFollowed = index < follow;
  if (isFollowed) followers.push(follower);
  return openConnection(
    { ...common, protocol: "tailgate.v1", token: client.token, firstMessages: messages, readyText: '"ready"' },
    isFollowed ? { message: (payload) => follower.take(payload) } : {},
  );
}

function belongsToUser(id: string, document: unknown): boolean {
  return (document as { user?: { id?: unknown } } | null)?.user?.id === id;
}

function counts(): Counts {
  const total: Counts = {
    ...{ open: 0, messages: 0, fewest: 0, most: 0, small: 0, payloadBytes: 0, reads: 0, closes: {} },
    followed: {
      connections: followers.length,
      changes: followers.reduce((changes, follower) => changes + follower.changes, 0),
      faults: addFaults(followers.map(({ faults }) => faults)),
    },
  };
  let fewest = Number.POSITIVE_INFINITY;
  for (const { counter, reads, closeCode } of connections) {
    total.messages += counter.messages;
    total.small += counter.small;
    total.payloadBytes += counter.payloadBytes;
    total.reads += reads;
    total.most = Math.max(total.most, counter.messages);
    fewest = Math.min(fewest, counter.messages);
    if (closeCode === undefined) total.open += 1;
    else total.closes[closeCode] = (total.closes[closeCode] ?? 0) + 1;
  }
  total.fewest = connections.length === 0 ? 0 : fewest;
  return total;
}

async function runAlone(): Promise<void> {
  const { values } = parseArgs({
    options: {
      url: { type: "string", default: "ws://127.0.0.1:8080/ws" },
      connections: { type: "string", default: "1" },
      protocol: { type: "string" },
      first: { type: "string" },
      "ready-text": { type: "string" },
      sample: { type: "boolean", default: false },
    },
  });
  await methods.open({
    url: values.url,
    connections: Number(values.connections),
    protocol: values.protocol,
    ...(values.first !== undefined && { firstMessages: [values.first] }),
    readyText: values["ready-text"],
    sample: values.sample,
  });
  setInterval(() => {
    process.stdout.write(`${JSON.stringify({ ...counts(), latencies: methods.latencies() })}\n`);
    methods.reset();
  }, 1000);
}

if (process.send !== undefined) answer(methods);
else if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await runAlone();
