import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { methods as clientsMethods } from "./clients.js";
import type { methods as floorCaptureMethods } from "./floor-capture.js";
import type { methods as floorReplayMethods } from "./floor-replay.js";
import type { methods as loadMethods, OpenOptions } from "./load.js";
import type { methods as matcherMethods } from "./matcher.js";
import type { methods as probeMethods } from "./probe.js";
import { program, type Started, type StartedServer, startHelper, startServer } from "./processes.js";
import type { Methods } from "./rpc.js";
import { tokenSecret } from "./tokens.js";
import { type CountingProxy, startCountingProxy } from "./wire.js";
import type { Operation, PrepareOptions, methods as writerMethods } from "./writer.js";

export type Side = "floor" | "gateway";
export type Load = Started<typeof loadMethods>;
export type Writer = Started<typeof writerMethods>;
export type FloorCapture = Started<typeof floorCaptureMethods>;
export type FloorReplay = Started<typeof floorReplayMethods>;
export type Clients = Started<typeof clientsMethods>;
export type Matcher = Started<typeof matcherMethods>;
export type Probe = Started<typeof probeMethods>;
export type Server = StartedServer;

/** What of the gateway's configuration a measure may choose; see docs/configuration.md. */
export interface GatewayOptions {
  /** By default everyone may read. */
  read?: unknown;
  /** By default connections without a token are let in; with tokens, these are what `tokens.ts` signs. */
  tokens?: boolean;
  history?: object;
  limits?: object;
  /** The database, by way of a proxy. */
  uri?: string;
}

/** One measurement of one side: everything in it is new and ends with it. */
export interface Turn {
  readonly uri: string;
  writer(operation: Operation, options?: Omit<PrepareOptions, "operation">): Promise<Writer>;
  server(options?: GatewayOptions): Promise<Server>;
  /** A gateway on both sides, for a measure that sets it beside itself. */
  gateway(options?: GatewayOptions): Promise<Server>;
  /** A uWebSockets server alone, which publishes nothing, where this is the floor's turn. */
  bareServer(options?: GatewayOptions): Promise<Server>;
  floorCapture(): Promise<FloorCapture>;
  floorReplay(): FloorReplay;
  load(options: Omit<OpenOptions, "url"> & { port: number }): Promise<Load>;
  clients(): Clients;
  matcher(): Matcher;
  probe(): Probe;
  /** Counts the commands that pass from a server to its database. */
  countingProxy(): Promise<CountingProxy>;
}

export interface Context {
  /** How much is done per turn: 1, or less for a quick look. */
  readonly scale: number;
  readonly rounds: number;
  readonly operation: Operation;
  /** Whether the gateway's place is taken by a second floor. */
  readonly selfCheck: boolean;
  /** A folder for CPU profiles of the gateways. */
  readonly profile: string | undefined;
  progress(text: string): void;
  turn<Result>(side: Side, measure: (turn: Turn) => Promise<Result>): Promise<Result>;
}

const gatewayCommand = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

/** @throws Error when the gateway has not been built */
export function requireGateway(): void {
  if (!existsSync(gatewayCommand)) throw new Error("the gateway is not built: run `npm run build` first");
}

/**
 * @param options.databaseUri - gives the URI of a database by its name
 * @param options.signal - aborted when the benchmark is given up
 */
export function createContext(
  options: Omit<Context, "turn"> & { databaseUri: (name: string) => string; signal: AbortSignal },
): Context {
  const { databaseUri, signal, ...rest } = options;
  let turns = 0;
  return {
    ...rest,
    async turn(side, measure) {
      signal.throwIfAborted();
      turns += 1;
      const uri = databaseUri(`tailgate_bench_${process.pid}_${turns}`);
      const folder = mkdtempSync(join(tmpdir(), "tailgate-bench-"));
      // In reverse at the end: clients before servers, and the database last.
      const endings: (() => Promise<void>)[] = [];
      const over = new AbortController();
      try {
        const turn = createTurn({ side: rest.selfCheck ? "floor" : side, uri, folder, endings, profile: rest.profile });
        return await Promise.race([measure(turn), whenAborted(signal, over.signal)]);
      } finally {
        over.abort();
        for (const ending of endings.reverse()) {
          await ending().catch((error: Error) => rest.progress(`at the end of the turn: ${error.message}`));
        }
        rmSync(folder, { recursive: true });
      }
    },
  };
}

/** @param over - after which nobody waits for it any more */
function whenAborted(signal: AbortSignal, over: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true, signal: over });
  });
}

function createTurn(options: {
  side: Side;
  uri: string;
  folder: string;
  endings: (() => Promise<void>)[];
  profile: string | undefined;
}): Turn {
  const { side, uri, folder, endings, profile } = options;
  const keep = <T extends { stop(): Promise<void> }>(started: T): T => {
    endings.push(() => started.stop());
    return started;
  };
  const helper = <M extends Methods>(name: string, environment?: NodeJS.ProcessEnv): Started<M> =>
    keep(startHelper<M>(name, environment));
  const gateway = async (options: GatewayOptions = {}) => {
    requireGateway();
    const file = join(folder, "tailgate.config.json");
    writeFileSync(file, JSON.stringify(configurationOf(options)));
    const command = [gatewayCommand, "serve", "--config", file];
    return keep(await startServer(command, { MONGODB_URI: options.uri ?? uri, LOG_LEVEL: "warn" }, { profile }));
  };
  const floor = async (databaseUri: string | undefined) =>
    keep(await startServer([program("floor")], { MONGODB_URI: databaseUri }));
  return {
    uri,
    async writer(operation, prepareOptions) {
      const writer = helper<typeof writerMethods>("writer");
      endings.push(() => writer.call("drop", undefined));
      await writer.call("prepare", { uri, operation, ...prepareOptions });
      return writer;
    },
    gateway,
    server: (wanted) => (side === "gateway" ? gateway(wanted) : floor(uri)),
    bareServer: (wanted) => (side === "gateway" ? gateway(wanted) : floor(undefined)),
    async floorCapture() {
      const counter = helper<typeof floorCaptureMethods>("floor-capture", { MONGODB_URI: uri });
      await counter.call("events", undefined);
      return counter;
    },
    floorReplay: () => helper<typeof floorReplayMethods>("floor-replay", { MONGODB_URI: uri }),
    async load({ port, ...wanted }) {
      const load = helper<typeof loadMethods>("load");
      await load.call("open", { ...wanted, url: `ws://127.0.0.1:${port}/ws` });
      return load;
    },
    clients: () => helper<typeof clientsMethods>("clients"),
    matcher: () => helper<typeof matcherMethods>("matcher"),
    probe: () => helper<typeof probeMethods>("probe"),
    countingProxy: async () => keep(await startCountingProxy(uri)),
  };
}

function configurationOf({ read = true, tokens = false, history, limits }: GatewayOptions): object {
  const auth = tokens ? { jwt: { secret: tokenSecret } } : { anonymous: true };
  return { interfaces: { items: { read } }, auth, ...(history && { history }), ...(limits && { limits }) };
}
