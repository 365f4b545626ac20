import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import type { ChildMessage } from "./parent.js";
import { projectFolder } from "./settings.js";

export interface Child {
  readonly name: string;
  /** Resolves with what it said when it was ready; undefined when it ended first. */
  readonly ready: Promise<ChildMessage | undefined>;
  /** Resolves with its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly hasEnded: boolean;
  /** Asks it to end, and insists after a while. */
  stop(): Promise<void>;
  kill(): void;
}

/** Longer than the gateway's own grace of 8 s. */
const insistMilliseconds = 10_000;

/**
 * Starts a program of the lab. It is in a process group of its own, so that Ctrl-C reaches only the program that started
 * it, which stops things in order; and it ends by itself when that program is gone.
 *
 * @param file - in the lab's folder
 * @param print - gets each line that it prints
 */
export function startChild(
  name: string,
  file: string,
  environment: Record<string, string>,
  print: (line: string) => void,
): Child {
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), file], {
    cwd: projectFolder,
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    detached: true,
  });
  forEachLine(child, print);
  let hasEnded = false;
  const ended = endOf(child).then((end) => {
    hasEnded = true;
    return end;
  });
  const ready = Promise.race([
    once(child, "message").then(([message]) => message as ChildMessage),
    ended.then(() => undefined),
  ]);
  return {
    name,
    ready,
    ended,
    get hasEnded() {
      return hasEnded;
    },
    async stop() {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), insistMilliseconds);
      await ended;
      clearTimeout(timer);
    },
    kill: () => void child.kill("SIGKILL"),
  };
}

/**
 * Runs a command to its end.
 *
 * @returns its exit code or signal, and the lines of its standard output
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  print: (line: string) => void,
): Promise<{ end: number | NodeJS.Signals; lines: string[] }> {
  const child = spawn(command, args, { cwd: projectFolder, stdio: ["ignore", "pipe", "pipe"] });
  const lines: string[] = [];
  eachLine(child.stdout, (line) => lines.push(line));
  forEachLine(child, print);
  return { end: await endOf(child), lines };
}

async function endOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  return code ?? signal ?? 1;
}

function forEachLine({ stdout, stderr }: ChildProcess, print: (line: string) => void): void {
  if (stdout !== null) eachLine(stdout, print);
  if (stderr !== null) eachLine(stderr, print);
}

function eachLine(stream: Readable, use: (line: string) => void): void {
  createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", use);
}
