import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, appendFile, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { withLock } from "./lock.mjs";
import { hello } from "./probe.mjs";
import { run } from "./process.mjs";
import { findPython } from "./python.mjs";
import { toolsDirectory } from "./settings.mjs";
import { Unavailable } from "./trouble.mjs";

/** The version that everything here was tried with. */
export const secantusVersion = "0.7.0b3";
/** The name of its replica set, which is fixed. */
export const secantusSetName = "secantus";

const installTimeoutMs = 600_000;
const startTimeoutMs = 60_000;

/** @typedef {(line: string) => void} Log */

/**
 * A server that was started for a spec or a tool; it ends with the process that started it.
 *
 * @typedef {object} SecantusServer
 * @property {number} port
 * @property {number} pid - of the running one: a restart changes it
 * @property {string} logFile - what the server prints
 * @property {(databaseName?: string) => string} uri - default database: `test`
 * @property {(signal?: NodeJS.Signals) => Promise<void>} kill - sends the signal, default SIGKILL, and waits for the
 *   end, except after SIGSTOP and SIGCONT
 * @property {() => Promise<void>} stop - SIGTERM, about two seconds, then SIGKILL after ten; may be called again
 * @property {(flags?: string[]) => Promise<void>} restart - stops it with SIGKILL if it runs, and starts it on the same
 *   port with the same data; with other flags if given
 */

/**
 * Where the server's program is, installing it the first time: a virtual environment with SecantusDB from PyPI. Several
 * processes may call it at once.
 *
 * @param {object} [options]
 * @param {Log} [options.log] - progress, line by line
 * @param {string} [options.tools] - the directory that holds the environment
 * @returns {Promise<string>} the path of `secantusd-py`
 * @throws {Unavailable} where Python or the package can't be had, saying what to do
 */
export async function ensureSecantus({ log = () => {}, tools = toolsDirectory() } = {}) {
  const home = join(tools, `secantusdb-${secantusVersion}`);
  const executable = join(home, "bin", "secantusd-py");
  if (await isComplete(home)) return executable;
  return withLock(`${home}.lock`, log, async () => {
    if (!(await isComplete(home))) await install(home, log);
    return executable;
  });
}

/**
 * Starts a server and waits until it answers.
 *
 * @param {object} options
 * @param {string} options.storagePath - made if missing; its log lies beside it, with `.log` appended
 * @param {number} [options.port] - default, or 0: a free one
 * @param {string[]} [options.flags] - added to {@link baseFlags}; of a flag that is given twice the last one counts
 * @param {boolean} [options.syncOnCommit] - default true: what was acknowledged survives `kill -9`
 * @param {boolean} [options.detached] - lets the server outlive this process; default false
 * @param {string} [options.logFile]
 * @param {Log} [options.log] - progress of an installation
 * @param {string} [options.tools] - as for {@link ensureSecantus}
 * @param {(pid: number) => Promise<void>} [options.onSpawn] - called before the server is waited for
 * @returns {Promise<SecantusServer>}
 * @throws {Unavailable} with the end of its log where it ends or does not answer in a minute
 */
export async function startSecantus(options) {
  const executable = await ensureSecantus({ log: options.log, tools: options.tools });
  const launch = { ...options, logFile: options.logFile ?? `${options.storagePath}.log` };
  let { child, port } = await spawnServer(executable, launch);
  const kill = async (/** @type {NodeJS.Signals} */ signal) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = signal === "SIGSTOP" || signal === "SIGCONT" ? undefined : once(child, "exit");
    child.kill(signal);
    await exit;
  };
  return {
    port,
    logFile: launch.logFile,
    get pid() {
      return child.pid ?? 0;
    },
    uri: (databaseName = "test") => secantusUri(port, databaseName),
    kill: (signal = "SIGKILL") => kill(signal),
    stop: async () => {
      const impatience = setTimeout(() => child.kill("SIGKILL"), 10_000);
      await kill("SIGTERM").finally(() => clearTimeout(impatience));
    },
    restart: async (flags = launch.flags) => {
      await kill("SIGKILL");
      launch.flags = flags;
      child = (await spawnServer(executable, { ...launch, port })).child;
    },
  };
}

/**
 * The flags that every server gets: heartbeats keep the resume tokens of quiet streams young, and the oplog holds a day instead
 * of an hour, but no more entries than are read in some seconds: it reads all of them to find the place of a time.
 */
export const baseFlags = [
  ...["--noop-heartbeat-seconds", "10"],
  ...["--oplog-max-entries", "200000"],
  ...["--oplog-retention-seconds", "86400"],
];

/**
 * @param {number} port
 * @param {string} databaseName
 */
export function secantusUri(port, databaseName) {
  return `mongodb://127.0.0.1:${port}/${databaseName}?replicaSet=${secantusSetName}`;
}

/** @param {string} home */
async function isComplete(home) {
  try {
    // Its scripts hold absolute paths, and its Python is a link: a moved project or a removed Python makes it useless.
    await access(join(home, "bin", "python"));
    return (await readFile(join(home, "complete"), "utf8")) === home;
  } catch {
    return false;
  }
}

/**
 * @param {string} home
 * @param {Log} log
 */
async function install(home, log) {
  const python = await findPython();
  log(`Installing SecantusDB ${secantusVersion} from PyPI, once (about 150 MB on disk, with ${python}).`);
  await rm(home, { recursive: true, force: true });
  await mkdir(dirname(home), { recursive: true });
  const made = await run(python, ["-m", "venv", home], { timeoutMs: 120_000 });
  if (made.code !== 0) throw new Unavailable(`${python} -m venv failed: ${lastLine(made.errors || made.output)}`);
  // Wheels only: from source the server needs a C compiler, CMake and a long time.
  const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:"];
  const outcome = await run(join(home, "bin", "python"), [...pip, `SecantusDB==${secantusVersion}`], {
    timeoutMs: installTimeoutMs,
    onLine: (line) => {
      if (/^\s*(Downloading|Installing collected)/.test(line)) log(`  ${line.trim().slice(0, 100)}`);
    },
  });
  await appendFile(join(home, "install.log"), outcome.output + outcome.errors);
  if (outcome.code !== 0) {
    const reason = outcome.timedOut ? "it took more than ten minutes" : pipError(outcome.errors);
    throw new Unavailable(`pip could not install SecantusDB ${secantusVersion}: ${reason}`);
  }
  // An empty file, so that a secantusd.toml of the user's changes nothing here.
  await writeFile(join(home, "secantusd.toml"), "");
  await writeFile(join(home, "complete"), home);
}

/** @param {string} errors - what pip said: the first error names the cause, the last one only the consequence */
function pipError(errors) {
  return (/^ERROR: (.*)$/m.exec(errors)?.[1] ?? lastLine(errors)).slice(0, 300);
}

/** @param {string} text */
function lastLine(text) {
  return text.trim().split("\n").at(-1) ?? "";
}

/**
 * @typedef {{ storagePath: string, logFile: string, port?: number, flags?: string[], syncOnCommit?: boolean,
 *   detached?: boolean, onSpawn?: (pid: number) => Promise<void> }} Launch
 */

/**
 * @param {string} executable
 * @param {Launch} launch
 */
async function spawnServer(executable, launch) {
  await mkdir(launch.storagePath, { recursive: true });
  await mkdir(dirname(launch.logFile), { recursive: true });
  const log = await open(launch.logFile, "a");
  const { size } = await log.stat();
  const child = spawn(executable, argumentsOf(executable, launch), {
    stdio: ["ignore", log.fd, log.fd],
    detached: launch.detached ?? false,
    env: { ...process.env, PYTHONUNBUFFERED: "1" },
  });
  /** @type {Error | undefined} */
  let failure;
  child.once("error", (error) => {
    failure = error;
  });
  await log.close();
  if (launch.detached) child.unref();
  else endWithUs(child);
  try {
    if (child.pid) await launch.onSpawn?.(child.pid);
    return { child, port: await listening(child, launch.logFile, size, () => failure) };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/**
 * @param {string} executable
 * @param {Launch} launch
 */
function argumentsOf(executable, { port = 0, storagePath, flags = [], syncOnCommit = true }) {
  const config = join(dirname(dirname(executable)), "secantusd.toml");
  return [
    ...["--config", config, "--host", "127.0.0.1", "--port", String(port), "--storage-path", storagePath],
    ...(syncOnCommit ? ["--sync-on-commit"] : []),
    ...baseFlags,
    ...flags,
  ];
}

/**
 * Waits for the server's own word that it listens, not only for an answer on its port: that could come from another
 * server, which has the port while ours is about to fail.
 *
 * @param {import("node:child_process").ChildProcess} child
 * @param {string} logFile
 * @param {number} from - where this run's part of the log begins
 * @param {() => Error | undefined} failure
 */
async function listening(child, logFile, from, failure) {
  const deadline = performance.now() + startTimeoutMs;
  for (;;) {
    const text = (await readFile(logFile)).subarray(from).toString("utf8");
    const port = Number(/listening on \S+:(\d+)/.exec(text)?.[1] ?? 0);
    if (port > 0 && (await answers(port))) return port;
    const ended = failure()?.message ?? (child.exitCode !== null || child.signalCode !== null ? "it ended" : undefined);
    if (ended) throw new Unavailable(`SecantusDB did not start, ${ended}: ${lastLine(text)} (${logFile})`);
    if (performance.now() > deadline)
      throw new Unavailable(`SecantusDB does not answer after a minute; see ${logFile}`);
    await sleep(25);
  }
}

/** @param {number} port */
async function answers(port) {
  try {
    return (await hello(`mongodb://127.0.0.1:${port}/?directConnection=true`, 2_000)).isWritablePrimary === true;
  } catch {
    // Not yet; the caller looks at the process and at the clock.
    return false;
  }
}

/** @type {Set<import("node:child_process").ChildProcess>} */
const dependants = new Set();

/** @param {import("node:child_process").ChildProcess} child */
function endWithUs(child) {
  if (dependants.size === 0) process.once("exit", killDependants);
  dependants.add(child);
  child.once("exit", () => {
    dependants.delete(child);
    if (dependants.size === 0) process.removeListener("exit", killDependants);
  });
}

function killDependants() {
  for (const child of dependants) if (child.exitCode === null) child.kill("SIGKILL");
}
