/**
 * Clients that hold positions and come back with them, as PROTOCOL.md says: a process of its own, beside the load generator,
 * which only counts.
 */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMicroseconds } from "./clock.js";
import { type Connection, openConnection } from "./connection.js";
import { addFaults, type Faults, Follower } from "./follower.js";
import { answer } from "./rpc.js";

export interface ClientsOptions {
  url: string;
  /** One client for each, all with one subscription. Undefined: plain connections, which hold nothing. */
  subscriptions?: readonly ClientSubscription[];
  /** How many plain connections there are, where there are no subscriptions. */
  plain?: number;
}

export interface ClientSubscription {
  token?: string;
  interface: string;
  filter?: unknown;
  snapshot?: boolean;
  /** Whose documents come: each change's `user.id` is checked. */
  user?: string;
}

export interface Returned {
  /** On the machine's monotonic clock, in microseconds. */
  readyAt: number;
  /** Connections that failed and were tried again. */
  retries: number;
}

export interface Standing {
  /** Clients that are connected and have had their `ready`. */
  ready: number;
  /** Changes that all took together, and those that took the fewest and the most. */
  changes: number;
  fewest: number;
  most: number;
  faults: Faults;
}

interface Client {
  connection: Connection | undefined;
  readonly follower: Follower | undefined;
  readonly subscription: ClientSubscription | undefined;
}

const atOnce = 100;
const portMilliseconds = 10;
/** As PROTOCOL.md has it (C12), but for the doubling: a benchmark's server comes back soon or not at all. */
const retryMilliseconds = 500;
const joinMilliseconds = 60_000;

let clients: Client[] = [];
let url = "";

export const methods = {
  /** Connects all, a hundred at a time, and returns when each has had its `ready`. */
  async open(options: ClientsOptions): Promise<void> {
    url = options.url;
    const wanted = options.subscriptions ?? Array.from({ length: options.plain ?? 1 }, () => undefined);
    clients = wanted.map((subscription) => ({
      connection: undefined,
      subscription,
      follower: subscription === undefined ? undefined : new Follower(belongingTo(subscription.user)),
    }));
    const waiting = [...clients];
    const lane = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await join(next);
    };
    await Promise.all(Array.from({ length: atOnce }, lane));
  },

  /** Cuts all connections from this side; what the clients hold is kept. */
  leave(): void {
    for (const client of clients) {
      client.connection?.destroy();
      client.connection = undefined;
    }
  },

  /**
   * Waits until the connections have ended and the port is listened on again.
   *
   * @returns when that was, on the machine's monotonic clock in microseconds
   */
  async untilListening({ limitMilliseconds }: { limitMilliseconds: number }): Promise<number> {
    const deadline = performance.now() + limitMilliseconds;
    while (clients.some(({ connection }) => connection !== undefined && connection.closeCode === undefined)) {
      if (performance.now() > deadline) throw new Error("the connections did not end");
      await delay(1);
    }
    while (!(await isListening())) {
      if (performance.now() > deadline) throw new Error("nothing listens on the port again");
      await delay(portMilliseconds);
    }
    return monotonicMicroseconds();
  },

  /** All come back, each after a random part of the jitter, with the position that it holds. */
  async comeBack(options: { jitterMilliseconds: number; limitMilliseconds: number }): Promise<Returned> {
    const deadline = performance.now() + options.limitMilliseconds;
    let retries = 0;
    await Promise.all(
      clients.map(async (client) => {
        for (
          let pause = Math.random() * options.jitterMilliseconds;
          ;
          pause = retryMilliseconds * (0.5 + Math.random())
        ) {
          await delay(pause);
          try {
            return await join(client);
          } catch (error) {
            if (performance.now() > deadline) throw error;
            retries += 1;
          }
        }
      }),
    );
    return { readyAt: monotonicMicroseconds(), retries };
  },

  standing,

  /**
   * Waits until every client has taken so many changes, or nothing has come for a while, or something came that must not.
   *
   * @returns what the clients have by then, and when that was, on the machine's monotonic clock in microseconds
   */
  async waitFor(wanted: { changes: number; stallMilliseconds: number }): Promise<Standing & { at: number }> {
    let before = standing();
    let lastProgress = performance.now();
    for (;;) {
      const now = standing();
      const at = monotonicMicroseconds();
      if (now.fewest >= wanted.changes || Object.keys(now.faults.notices).length > 0) return { ...now, at };
      if (now.changes > before.changes) lastProgress = performance.now();
      if (performance.now() - lastProgress > wanted.stallMilliseconds) return { ...now, at };
      before = now;
      await delay(5);
    }
  },
};

async function join(client: Client): Promise<void> {
  const { follower, subscription } = client;
  if (follower === undefined || subscription === undefined) {
    client.connection = await openConnection({ url, joinMilliseconds });
    return;
  }
  const { interface: name, filter, snapshot, token } = subscription;
  const message = follower.subscribe("1", {
    interface: name,
    ...(filter !== undefined && { filter }),
    ...(snapshot !== undefined && { snapshot }),
  });
  client.connection = await openConnection(
    { url, protocol: "tailgate.v1", token, firstMessages: [message], readyText: '"ready"', joinMilliseconds },
    { message: (payload) => follower.take(payload) },
  );
}

function standing(): Standing {
  const counts = clients.map(({ follower }) => follower?.changes ?? 0);
  const isReady = ({ connection, follower }: Client) =>
    connection !== undefined && connection.closeCode === undefined && (follower?.isReady ?? true);
  return {
    ready: clients.filter(isReady).length,
    changes: counts.reduce((total, count) => total + count, 0),
    fewest: Math.min(...counts),
    most: Math.max(...counts),
    faults: addFaults(clients.flatMap(({ follower }) => follower?.faults ?? [])),
  };
}

function belongingTo(user: string | undefined): ((id: string, document: unknown) => boolean) | undefined {
  if (user === undefined) return undefined;
  return (_, document) => (document as { user?: { id?: unknown } } | null)?.user?.id === user;
}

function isListening(): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.on("error", () => resolve(false));
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
  });
}

answer(methods);
