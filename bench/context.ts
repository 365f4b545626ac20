import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { methods as floorCaptureMethods } from "./floor-capture.js";
import type { methods as loadMethods, OpenOptions } from "./load.js";
import { program, type Started, startHelper, startServer } from "./processes.js";
import type { Operation, methods as writerMethods } from "./writer.js";

export type Side = "floor" | "gateway";
export type Load = Started<typeof loadMethods>;
export type Writer = Started<typeof writerMethods>;
export type FloorCapture = Started<typeof floorCaptureMethods>;

export interface Server {
  readonly pid: number;
  readonly port: number;
}

/** One measurement of one side: everything in it is new and ends with it. */
export interface Turn {
  readonly uri: string;
  writer(operation: Operation): Promise<Writer>;
  server(): Promise<Server>;
  /** A uWebSockets server alone instead of the bare gateway, where this is the floor's turn. */
  memoryServer(): Promise<Server>;
  floorCapture(): Promise<FloorCapture>;
  load(options: Omit<OpenOptions, "url"> & { port: number }): Promise<Load>;
}

export interface Context {
  /** How much is done per turn: 1, or less for a quick look. */
  readonly scale: number;
  readonly rounds: number;
  readonly operation: Operation;
  /** Whether the gateway's place is taken by a second floor. */
  readonly selfCheck: boolean;
  progress(text: string): void;
  turn<Result>(side: Side, measure: (turn: Turn) => Promise<Result>): Promise<Result>;
}

const gatewayCommand = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const configuration = { interfaces: { items: { read: true } }, auth: { anonymous: true } };

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
      try {
        const turn = createTurn({ side: rest.selfCheck ? "floor" : side, uri, folder, endings });
        return await Promise.race([measure(turn), whenAborted(signal)]);
      } finally {
        for (const ending of endings.reverse()) {
          await ending().catch((error: Error) =>
            rest.progress(`at the end of the turn: ${error.message.split("\n", 1)[0]}`),
          );
        }
        rmSync(folder, { recursive: true });
      }
    },
  };
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}

function createTurn(options: { side: Side; uri: string; folder: string; endings: (() => Promise<void>)[] }): Turn {
  const { side, uri, folder, endings } = options;
  const keep = <T extends { stop(): Promise<void> }>(started: T): T => {
    endings.push(() => started.stop());
    return started;
  };
  const gateway = async () => {
    const file = join(folder, "tailgate.config.json");
    writeFileSync(file, JSON.stringify(configuration));
    const command = [gatewayCommand, "serve", "--config", file];
    return keep(await startServer(command, { MONGODB_URI: uri, LOG_LEVEL: "warn" }));
  };
  return {
    uri,
    async writer(operation) {
      const writer = keep(startHelper<typeof writerMethods>("writer"));
      endings.push(() => writer.call("drop", undefined));
      await writer.call("prepare", { uri, operation });
      return writer;
    },
    async server() {
      return side === "gateway" ? gateway() : keep(await startServer([program("floor")], { MONGODB_URI: uri }));
    },
    async memoryServer() {
      return side === "gateway" ? gateway() : keep(await startServer([program("floor")], { MONGODB_URI: undefined }));
    },
    async floorCapture() {
      const counter = keep(startHelper<typeof floorCaptureMethods>("floor-capture", { MONGODB_URI: uri }));
      await counter.call("events", undefined);
      return counter;
    },
    async load({ port, ...wanted }) {
      const load = keep(startHelper<typeof loadMethods>("load"));
      await load.call("open", { ...wanted, url: `ws://127.0.0.1:${port}/ws` });
      return load;
    },
  };
}
