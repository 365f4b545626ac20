import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { directorySize, megabytes } from "../disk.mjs";
import { messageOf } from "../probe.mjs";
import { run } from "../process.mjs";
import { Unavailable } from "../trouble.mjs";
import { serverOf } from "./mongod.mjs";
import { threeNodes } from "./nodes.mjs";

const version = "8.0.x";
/** The hosts of the list of versions and of the archives. */
const hosts = ["https://downloads.mongodb.org/", "https://fastdl.mongodb.org/"];
const reachTimeoutMs = 4_000;
const downloadTimeoutMs = 900_000;
const progressMs = 5_000;

/** @type {import("./way.mjs").Way} */
export const downloadedMongod = {
  name: "download",
  title: "a mongod downloaded by mongodb-runner",
  async prepare(job) {
    const target = join(job.tools, "mongodb");
    const binDir = (await downloadedBefore(target)) ?? (await download(target, job.log));
    return threeNodes(job, binDir, await serverOf(join(binDir, "mongod")));
  },
};

/** @param {string} target */
async function downloadedBefore(target) {
  try {
    const binDir = await readFile(join(target, "bin-dir"), "utf8");
    await access(join(binDir, "mongod"));
    return binDir;
  } catch {
    // Not yet, or moved or deleted since.
    return undefined;
  }
}

/**
 * The downloader can't be cancelled and says nothing while it works, so it runs in a process of its own: that can be
 * ended, and the growing directory is its progress.
 *
 * @param {string} target
 * @param {(line: string) => void} log
 * @returns {Promise<string>} the directory of the programs
 */
async function download(target, log) {
  await Promise.all(hosts.map(reach));
  log(`Downloading MongoDB ${version}, once (some 100 MB).`);
  await mkdir(target, { recursive: true });
  const progress = setInterval(async () => log(`  ${megabytes(await directorySize(target))} unpacked`), progressMs);
  const worker = fileURLToPath(new URL("download-worker.mjs", import.meta.url));
  const outcome = await run(process.execPath, [worker, target, version], { timeoutMs: downloadTimeoutMs });
  clearInterval(progress);
  if (outcome.timedOut) throw new Unavailable(`it was not there after ${downloadTimeoutMs / 60_000} minutes`);
  if (outcome.code !== 0) throw new Unavailable(`the download failed: ${outcome.errors.trim().split("\n")[0]}`);
  const binDir = outcome.output.trim();
  await writeFile(join(target, "bin-dir"), binDir);
  return binDir;
}

/**
 * Without a network, name resolution and connections can hang for minutes; so it is asked first, with a short patience.
 *
 * @param {string} url
 */
async function reach(url) {
  try {
    await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(reachTimeoutMs) });
  } catch (error) {
    const { name, cause } = /** @type {Error & { cause?: NodeJS.ErrnoException }} */ (error);
    const reason =
      name === "TimeoutError" ? `no answer in ${reachTimeoutMs / 1000} s` : (cause?.code ?? messageOf(error));
    throw new Unavailable(`${new URL(url).host} can't be reached (${reason})`);
  }
}
