import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runCommand, type TestCommand } from "../support/gateway.js";
import type { Findings } from "./findings.js";

/** Makes the process collect its garbage when it is asked to. */
const collecting = `--import ${new URL("./collect.mjs", import.meta.url)}`;

/** What `serve` exits with where the database is not reachable in time. */
const unreachable = 69;
/** What is said of what a client asked for comes as often as clients ask. */
const answersToClients = new Set(["subscription failed", "request failed"]);
/** An average of one a second, and what jitter may add. */
const failuresInTenSeconds = 15;

interface LogLine {
  readonly time: string | number;
  readonly msg: string;
  readonly level: string | number;
  readonly interface?: string;
  readonly err?: { readonly message?: string };
}

/** A gateway whose connection to the database breaks while it starts gives up at once, with the code of any failure. */
function wasCutOff(errors: string): boolean {
  return /"level":"fatal".*(ECONNRESET|EPIPE|MongoNetworkError|MongoPoolClearedError|failpoint|connection .* closed)/.test(
    errors,
  );
}

/** A gateway as a process, to be killed and started again on the same port. */
export class GatewayProcess {
  readonly name: string;
  readonly port: number;
  /** How often it was ended on purpose: a connection that broke meanwhile has a good reason. */
  endings = 0;
  isUp = false;
  readonly #options: { environment: Record<string, string>; root: string | undefined; findings: Findings };
  #command: TestCommand | undefined;
  #isEnding = false;
  #errors = "";

  /** @param options.root - where the sources are, if they are a copy */
  constructor(
    name: string,
    port: number,
    options: { environment: Record<string, string>; root: string | undefined; findings: Findings },
  ) {
    this.name = name;
    this.port = port;
    this.#options = options;
  }

  get websocketUrl(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves when it serves; while the database is away it is started again and again, as a supervisor would. */
  async start(): Promise<void> {
    const { environment, root, findings } = this.#options;
    for (;;) {
      this.#isEnding = false;
      const program = root === undefined ? [] : [join(root, "src/cli/main.ts")];
      const settings = { ...environment, PORT: String(this.port), NODE_OPTIONS: collecting };
      const command = runCommand(["serve"], settings, process.cwd(), ...program);
      this.#command = command;
      const started = command.line(/gateway started/, 60_000).then(
        () => "started" as const,
        () => "silent" as const,
      );
      const outcome = await Promise.race([started, command.exit]);
      if (outcome === "started") {
        this.isUp = true;
        void command.exit.then((code) => this.#ended(command, code));
        return;
      }
      this.#errors += command.errors();
      if (outcome !== unreachable && !wasCutOff(command.errors())) {
        const why = `did not start: ${outcome} ${command.errors().slice(-2_000)}`;
        findings.add("crash", this.name, why);
        throw new Error(`${this.name} ${why}`);
      }
      await sleep(200);
    }
  }

  #ended(command: TestCommand, code: number | NodeJS.Signals): void {
    this.isUp = false;
    this.#errors += command.errors();
    if (!this.#isEnding) this.#options.findings.add("crash", this.name, `${code}: ${command.errors().slice(-2_000)}`);
  }

  /** @param signal - SIGKILL, or SIGTERM for a stop that tells its clients */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (this.#command === undefined) return;
    this.endings += 1;
    this.#isEnding = true;
    this.isUp = false;
    this.#command.kill(signal);
    await this.#command.exit;
  }

  async metrics(): Promise<string> {
    return (await fetch(`${this.url}/metrics`)).text();
  }

  /** @returns what is in use of the heap and beside it, in megabytes, after its garbage has been collected */
  async memoryInUse(): Promise<number> {
    this.#command?.kill("SIGUSR2");
    const text = await this.metrics();
    const bytes = ["nodejs_heap_size_used_bytes", "nodejs_external_memory_bytes"].map((name) =>
      Number(new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1]),
    );
    return bytes.reduce((sum, each) => sum + each) / 1_000_000;
  }

  /** Looks through its log for something that it tried again faster than once a second. */
  checkLog(): void {
    const times = new Map<string, number[]>();
    for (const text of this.#errors.split("\n")) {
      if (!text.startsWith("{")) continue;
      const line = JSON.parse(text) as LogLine;
      if (line.err === undefined || answersToClients.has(line.msg)) continue;
      const key = `${line.msg} (${line.interface ?? ""})`;
      const list = times.get(key) ?? [];
      times.set(key, [...list, new Date(line.time).getTime()]);
    }
    for (const [key, list] of times) {
      const isTooFast = list.some((time, index) => (list[index + failuresInTenSeconds] ?? Infinity) - time < 10_000);
      if (isTooFast) this.#options.findings.add("retry loop", this.name, `${list.length} times: ${key}`);
    }
  }

  /** The end of its log, for the story of a failure. */
  get log(): string {
    return (this.#errors + (this.isUp ? (this.#command?.errors() ?? "") : "")).slice(-4_000);
  }
}
