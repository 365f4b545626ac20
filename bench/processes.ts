import { type ChildProcess, fork, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { freePort } from "../spec/support/port.js";
import { type Call, caller, type Methods } from "./rpc.js";

export interface Started<M extends Methods> {
  readonly pid: number;
  readonly call: Call<M>;
  stop(): Promise<void>;
}

const children = new Set<ChildProcess>();
const built = new URL("dist/", import.meta.url);
const programs = ["clients", "floor", "floor-capture", "floor-replay", "load", "matcher", "probe", "writer"];
const graceMilliseconds = 10_000;
/** Whatever ends this process, nothing that it started stays behind. */
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});
/** Makes V8 collect garbage on SIGUSR2, in any program. */
const withCollector = ["--expose-gc", "--import", 'data:text/javascript,process.on("SIGUSR2", () => gc())'];

/**
 * Compiles the programs that run as processes of their own. They do not run through tsx, for its loader has a thread and
 * megabytes of its own, and these come and go while something is measured.
 */
export async function buildPrograms(): Promise<void> {
  await build({
    entryPoints: programs.map((name) => `${name}.ts`),
    absWorkingDir: fileURLToPath(new URL(".", import.meta.url)),
    outdir: fileURLToPath(built),
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "node20",
  });
}

/** @param name - of a program that `buildPrograms` made, such as `floor` @returns its file */
export function program(name: string): string {
  return fileURLToPath(new URL(`${name}.js`, built));
}

/**
 * Starts a program of this folder as a process that answers calls.
 *
 * @param name - such as `load`
 */
export function startHelper<M extends Methods>(name: string, environment: NodeJS.ProcessEnv = {}): Started<M> {
  const child = fork(program(name), [], { execArgv: [], env: { ...process.env, ...environment } });
  return { pid: adopt(child), call: caller<M>(child), stop: () => end(child) };
}

export interface StartedServer {
  /** Of the process that runs now. */
  readonly pid: number;
  readonly port: number;
  stop(): Promise<void>;
  /** Ends it with SIGKILL and starts it anew on the same port, without waiting until it is ready. */
  killAndRestart(): Promise<void>;
}

/**
 * Starts a server as a process and waits until `GET /readyz` answers 200.
 *
 * @param command - a file and its arguments
 * @param options.profile - a folder for a CPU profile of each process that is not killed
 * @throws Error with what the process said, when it ends or is not ready in 30 s
 */
export async function startServer(
  command: readonly string[],
  environment: NodeJS.ProcessEnv,
  options: { profile?: string | undefined } = {},
): Promise<StartedServer> {
  const port = await freePort();
  let said = "";
  const profiler = options.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${options.profile}`];
  const launch = (): ChildProcess => {
    const child = spawn(process.execPath, [...withCollector, ...profiler, ...command], {
      env: { ...process.env, ...environment, HOST: "127.0.0.1", PORT: String(port) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    adopt(child);
    child.stderr.on("data", (text: Buffer) => {
      said = (said + text.toString()).slice(-10_000);
    });
    return child;
  };
  let child = launch();
  const deadline = performance.now() + 30_000;
  while (!(await isReady(port))) {
    if (hasEnded(child)) throw new Error(`${command.join(" ")} ended before it was ready:\n${said}`);
    if (performance.now() > deadline) {
      await end(child);
      throw new Error(`${command.join(" ")} was not ready in 30 s:\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    port,
    get pid() {
      return child.pid as number;
    },
    async stop() {
      const wasGone = hasEnded(child);
      await end(child);
      // Servers log warnings only.
      if (wasGone || said !== "") throw new Error(`a server ${wasGone ? "ended by itself and " : ""}said:\n${said}`);
    },
    async killAndRestart() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      child = launch();
    },
  };
}

/** Ends every process that was started here, by its id. */
export async function stopAll(): Promise<void> {
  await Promise.all([...children].map(end));
}

/**
 * CPU time that a process has used, in seconds, all its threads together. Read from outside: the process does nothing for
 * it. Threads' own figures count nanoseconds where the process's count hundredths of a second.
 */
export function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
  }
  return nanoseconds / 1e9;
}

/** Memory of a process that is in RAM, in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (match === null) throw new Error(`process ${pid} has ended`);
  return Number(match[1]) * 1024;
}

/** @param pid - of a process that `startServer` started */
export function collectGarbage(pid: number): void {
  process.kill(pid, "SIGUSR2");
}

/**
 * @param series - its name, with its labels if it has any
 * @returns its value in the gateway's own metrics, NaN where there is none
 */
export async function metric(port: number, series: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(30_000) });
  const line = (await response.text()).split("\n").find((each) => each.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}

async function isReady(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.status === 200;
  } catch {
    // It does not listen yet. The caller has a deadline.
    return false;
  }
}

/** @returns its process id */
function adopt(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("a process could not be started");
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child.pid;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), graceMilliseconds);
  await ended;
  clearTimeout(timer);
}
