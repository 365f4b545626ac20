import { connectClient, type TestClient } from "./client.js";

type Message = Record<string, unknown>;
type Row = { id: unknown } & Record<string, unknown>;

export interface SubscriberOptions {
  readonly interface: string;
  readonly filter?: unknown;
  readonly fields?: string[];
  readonly headers?: Record<string, string>;
}

/**
 * A client that holds a copy of one view, as the protocol says: rows of a snapshot, then changes by id, each checked to
 * follow the one before it.
 */
export interface Subscriber {
  readonly client: TestClient;
  /** The copy, by id as JSON text. */
  readonly rows: ReadonlyMap<string, Row>;
  readonly position: string;
  readonly view: string;
  /** `reset` reasons so far. */
  readonly resets: readonly string[];
  /** How often `ready` said that all was recovered. */
  readonly recoveries: number;
  /** What broke the protocol's promises; empty where nothing did. */
  readonly faults: readonly string[];
  /** Resolves when it is ready, and holds a complete copy. */
  ready(timeoutMilliseconds?: number): Promise<void>;
  /** Resolves when the copy satisfies the condition. */
  until(condition: (rows: ReadonlyMap<string, Row>) => boolean, timeoutMilliseconds?: number): Promise<void>;
  /** Connects again, with what it holds. */
  reconnect(url?: string): Promise<void>;
  close(): Promise<void>;
}

export async function subscribe(firstUrl: string, options: SubscriberOptions): Promise<Subscriber> {
  const rows = new Map<string, Row>();
  const resets: string[] = [];
  const faults: string[] = [];
  let client: TestClient;
  let url = firstUrl;
  let position = "";
  let view = "";
  let isReady = false;
  let recoveries = 0;
  let stale = false;
  let watchers: (() => void)[] = [];

  function apply(message: Message): void {
    const { type } = message;
    if (type === "snapshot") {
      if (stale) rows.clear();
      stale = false;
      for (const row of message.data as Row[]) rows.set(JSON.stringify(row.id), row);
    } else if (type === "ready") {
      isReady = true;
      view = message.view as string;
      if (message.recovered === true) {
        recoveries += 1;
        if (message.position !== position) faults.push(`ready at ${message.position}, not at since ${position}`);
      } else position = message.position as string;
    } else if (type === "reset") {
      resets.push(message.reason as string);
      isReady = false;
      stale = true;
    } else if (type === "progress" || type === "pong") {
      const told = message.position as string | null;
      if (told !== null && told > position) position = told;
    } else if (type === "error") faults.push(`error ${String(message.code)}: ${String(message.detail)}`);
    else if (type === undefined) change(message);
  }

  function change(message: Message): void {
    if (!isReady || message.view !== view) return;
    const at = message.position as string;
    if (at <= position) return;
    if ((message.previous as string) > position) faults.push(`gap: previous ${message.previous} after ${position}`);
    position = at;
    if (message.operation === "delete") for (const id of message.data as unknown[]) rows.delete(JSON.stringify(id));
    else rows.set(JSON.stringify((message.data as Row).id), message.data as Row);
  }

  async function open(): Promise<void> {
    isReady = false;
    client = await connectClient(url, {
      progress: true,
      protocols: ["tailgate.v1"],
      ...(options.headers === undefined ? {} : { headers: options.headers }),
    });
    client.socket.on("message", (data) => {
      apply(JSON.parse(String(data)) as Message);
      for (const watcher of watchers) watcher();
    });
    for (const message of client.received) apply(message);
    const since = position === "" ? {} : { since: position, view };
    if (position === "") stale = true;
    const { interface: name, filter, fields } = options;
    client.socket.send(
      JSON.stringify({
        type: "subscribe",
        id: "s",
        interface: name,
        ...(filter === undefined ? {} : { filter }),
        ...(fields === undefined ? {} : { fields }),
        ...since,
      }),
    );
  }

  function until(condition: () => boolean, timeoutMilliseconds = 20_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        if (!condition()) return;
        clearTimeout(timer);
        watchers = watchers.filter((each) => each !== done);
        resolve();
      };
      const timer = setTimeout(() => {
        watchers = watchers.filter((each) => each !== done);
        reject(
          new Error(
            `not in ${timeoutMilliseconds} ms: ${rows.size} rows, resets ${resets}, faults ${faults}, last ${JSON.stringify(client.received.at(-1))?.slice(0, 300)}`,
          ),
        );
      }, timeoutMilliseconds);
      watchers.push(done);
      done();
    });
  }

  await open();
  return {
    get client() {
      return client;
    },
    rows,
    get position() {
      return position;
    },
    get view() {
      return view;
    },
    resets,
    get recoveries() {
      return recoveries;
    },
    faults,
    ready: (timeoutMilliseconds) => until(() => isReady, timeoutMilliseconds),
    until: (condition, timeoutMilliseconds) => until(() => isReady && condition(rows), timeoutMilliseconds),
    async reconnect(to) {
      if (to !== undefined) url = to;
      await client.close();
      await open();
    },
    close: () => client.close(),
  };
}
