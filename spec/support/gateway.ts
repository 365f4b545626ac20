import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { settingsOf } from "../../src/config/load.js";
import type { Options } from "../../src/config/settings.js";
import { type Gateway, startGateway } from "../../src/gateway.js";
import { createLog } from "../../src/log.js";

export interface TestGateway {
  readonly gateway: Gateway;
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  /** `ws://127.0.0.1:PORT/ws` */
  readonly websocketUrl: string;
  /** The log's lines, decoded. */
  readonly logged: readonly Record<string, unknown>[];
  stop(): Promise<void>;
}

/** A gateway in this process, on a free port, open to anonymous connections unless told otherwise. */
export async function startTestGateway(options: Options & { mongo: string }): Promise<TestGateway> {
  const logged: Record<string, unknown>[] = [];
  const log = createLog("debug", { write: (line: string) => void logged.push(JSON.parse(line)) });
  const settings = settingsOf({ port: 0, auth: { anonymous: true }, ...options }, {});
  const gateway = await startGateway(settings, log);
  return {
    gateway,
    url: `http://127.0.0.1:${gateway.port}`,
    websocketUrl: `ws://127.0.0.1:${gateway.port}/ws`,
    logged,
    stop: gateway.stop,
  };
}

export interface TestCommand {
  readonly child: ChildProcess;
  /** What was printed so far. */
  readonly output: () => string;
  readonly errors: () => string;
  /** Resolves with the exit code, or the signal that ended it. */
  readonly exit: Promise<number | NodeJS.Signals>;
  /** Resolves with the first line of either stream that matches. */
  line(pattern: RegExp, timeoutMilliseconds?: number): Promise<string>;
  kill(signal?: NodeJS.Signals): void;
}

/** Those that have not ended. */
const running = new Set<ChildProcess>();

/** Ends every command that a failed spec has left. */
export function killCommands(): void {
  for (const child of running) child.kill("SIGKILL");
}

const root = new URL("../../", import.meta.url);

/** What Node is given to run the command: the build, which starts in half the time, if it is of these sources. */
const entry = isBuilt()
  ? [fileURLToPath(new URL("dist/cli/main.js", root))]
  : ["--import", import.meta.resolve("tsx"), fileURLToPath(new URL("src/cli/main.ts", root))];

function isBuilt(): boolean {
  const built = statSync(new URL("dist/cli/main.js", root), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(new URL("src/", root), { recursive: true, encoding: "utf8" });
  return ["package.json", ...sources.map((name) => `src/${name}`)].every(
    (path) => statSync(new URL(path, root)).mtimeMs < built,
  );
}

/**
 * Runs the `tailgate` command as a process of its own.
 *
 * @param program - the sources' `cli/main.ts`, where they are a copy of the project's own
 */
export function runCommand(
  args: readonly string[],
  environment: Record<string, string> = {},
  cwd = process.cwd(),
  program?: string,
): TestCommand {
  const command = program === undefined ? entry : ["--import", import.meta.resolve("tsx"), program];
  const child = spawn(process.execPath, [...command, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  const watchers = new Set<() => void>();
  const look = (): void => {
    for (const watcher of watchers) watcher();
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
    look();
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  const exit = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  return {
    child,
    output: () => output,
    errors: () => errors,
    exit,
    line(pattern, timeoutMilliseconds = 20_000) {
      return new Promise((resolve, reject) => {
        const finish = (): void => {
          const found = `${output}\n${errors}`.split("\n").find((line) => pattern.test(line));
          if (found === undefined) return;
          clearTimeout(timer);
          watchers.delete(finish);
          resolve(found);
        };
        const timer = setTimeout(() => {
          watchers.delete(finish);
          reject(new Error(`no line matched ${pattern} in ${timeoutMilliseconds} ms:\n${output}\n${errors}`));
        }, timeoutMilliseconds);
        watchers.add(finish);
        finish();
      });
    },
    kill(signal = "SIGTERM") {
      child.kill(signal);
    },
  };
}

/** Writes files into a folder of their own, removed by `dispose`. */
export async function temporaryFiles(
  files: Record<string, string>,
): Promise<{ folder: string; dispose(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "tailgate-files-"));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
  return { folder, dispose: () => rm(folder, { recursive: true, force: true }) };
}
