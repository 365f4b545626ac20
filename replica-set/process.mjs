import { execFile, spawn } from "node:child_process";
import { access, constants, readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

/**
 * @typedef {object} Outcome
 * @property {number | null} code - null where the program was ended by a signal or could not be run
 * @property {string} output - standard output
 * @property {string} errors - standard error, or why it could not be run
 * @property {boolean} timedOut
 */

/**
 * Runs a program to its end. Never throws: a program that can't be run is an outcome too.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {object} options
 * @param {number} options.timeoutMs - after it the program is killed
 * @param {(line: string) => void} [options.onLine] - each line of both outputs as it comes
 * @returns {Promise<Outcome>}
 */
export function run(command, args, { timeoutMs, onLine }) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    const outcome = { output: "", errors: "" };
    const listen = (/** @type {import("node:stream").Readable} */ stream, /** @type {"output" | "errors"} */ kind) => {
      let rest = "";
      stream.setEncoding("utf8").on("data", (/** @type {string} */ text) => {
        outcome[kind] += text;
        const lines = (rest + text).split(/[\r\n]+/);
        rest = lines.pop() ?? "";
        if (onLine) for (const line of lines) onLine(line);
      });
    };
    listen(child.stdout, "output");
    listen(child.stderr, "errors");
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ code: null, output: "", errors: error.message, timedOut: false });
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, ...outcome, timedOut: signal === "SIGKILL" });
    });
  });
}

/**
 * @param {string} command
 * @returns {Promise<string | undefined>} the file that PATH leads to
 */
export async function findOnPath(command) {
  for (const directory of (process.env.PATH ?? "").split(delimiter)) {
    if (!directory) continue;
    const file = join(directory, command);
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      // Not in this one.
    }
  }
  return undefined;
}

/**
 * @param {number} pid
 * @returns {Promise<boolean>} whether the process runs; a zombie, which has no command line any more, does not
 */
export async function isRunning(pid) {
  return isKnown(pid) && (await commandLine(pid)) !== "";
}

/**
 * Process ids are used again, so before one is believed or ended, its command line must name our data.
 *
 * @param {number} pid
 * @param {string} data - the data directory that our server was started with
 */
export async function isOurs(pid, data) {
  return isKnown(pid) && (await commandLine(pid)).includes(data);
}

/**
 * Asks our server to end, and ends it where it does not.
 *
 * @param {number} pid
 * @param {string} data
 * @param {number} graceMs
 */
export async function terminate(pid, data, graceMs) {
  if (!(await isOurs(pid, data))) return;
  signal(pid, "SIGTERM");
  const deadline = performance.now() + graceMs;
  while (await isOurs(pid, data)) {
    if (performance.now() > deadline) signal(pid, "SIGKILL");
    await sleep(50);
  }
}

/**
 * @param {number} port
 * @returns {Promise<boolean>} whether a server on 127.0.0.1 can have the port
 */
export async function portIsFree(port) {
  // Where a server listens on every address, some systems still let another bind the loopback address: so ask both ways.
  return !(await accepts(port)) && (await canListen(port));
}

/**
 * @param {number} pid
 * @param {NodeJS.Signals} name
 */
function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch (error) {
    // It has ended since it was looked at, which is what is wanted.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ESRCH") throw error;
  }
}

/** @param {number} pid */
function isKnown(pid) {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === "EPERM";
  }
}

/** @param {number} port */
function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.setTimeout(1_000, () => socket.destroy());
    socket.once("connect", () => socket.destroy(void resolve(true)));
    socket.once("error", () => resolve(false));
    socket.once("close", () => resolve(false));
  });
}

/** @param {number} port */
function canListen(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** @param {number} pid */
async function commandLine(pid) {
  try {
    if (process.platform === "linux") return (await readFile(`/proc/${pid}/cmdline`, "utf8")).replaceAll("\0", " ");
    return (await promisify(execFile)("ps", ["-ww", "-o", "command=", "-p", String(pid)])).stdout;
  } catch {
    // It ended between two looks.
    return "";
  }
}
