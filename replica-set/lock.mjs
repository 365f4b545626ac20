import { link, mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning } from "./process.mjs";

const refreshMs = 2_000;
const staleMs = 20_000;

/**
 * Runs one function at a time across processes. The lock of a process that died is taken over.
 *
 * @template T
 * @param {string} file - the lock; its directory is made
 * @param {(line: string) => void} log
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(file, log, work) {
  await mkdir(dirname(file), { recursive: true });
  await acquire(file, log);
  // A fresh time stamp says that the holder lives; a process id alone could by now belong to another program.
  const refresh = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {
      // The lock is gone because its directory was deleted: there is nothing left to guard.
    });
  }, refreshMs);
  try {
    return await work();
  } finally {
    clearInterval(refresh);
    await rm(file, { force: true });
  }
}

/**
 * @param {string} file
 * @param {(line: string) => void} log
 */
async function acquire(file, log) {
  const draft = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  await writeFile(draft, String(process.pid));
  try {
    for (let told = false; ; ) {
      try {
        // A link appears together with its content, which creating a file and then writing to it does not.
        await link(draft, file);
        return;
      } catch (error) {
        if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
      }
      const holder = await holderOf(file);
      if (holder.stale) {
        await removeStale(file, `${draft}.stale`);
        continue;
      }
      if (!told) log(`Waiting for process ${holder.pid}, which is at the same work.`);
      told = true;
      await sleep(100);
    }
  } finally {
    await rm(draft, { force: true });
  }
}

/** @param {string} file */
async function holderOf(file) {
  try {
    const pid = Number(await readFile(file, "utf8"));
    const age = Date.now() - (await stat(file)).mtimeMs;
    return { pid, stale: !(await isRunning(pid)) || age > staleMs };
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return { pid: 0, stale: false };
    throw error;
  }
}

/**
 * Two that wait may find the same stale lock, and the slower one would delete the lock that the faster one has made
 * meanwhile. So it is moved aside, looked at again, and put back where it is a living one.
 *
 * @param {string} file
 * @param {string} aside
 */
async function removeStale(file, aside) {
  try {
    await rename(file, aside);
    if (!(await holderOf(aside)).stale) await link(aside, file);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== "ENOENT" && code !== "EEXIST") throw error;
  } finally {
    await rm(aside, { force: true });
  }
}
