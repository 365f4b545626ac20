import { createHash } from "node:crypto";
import { findOnPath, run } from "../process.mjs";
import { Unavailable } from "../trouble.mjs";
import { initiate } from "./nodes.mjs";
import { databaseName, setName } from "./way.mjs";

const image = "docker.io/library/mongo:8.0";
const askTimeoutMs = 5_000;
const actTimeoutMs = 60_000;
const pullTimeoutMs = 900_000;

/** @type {import("./way.mjs").Way} */
export const container = {
  name: "container",
  title: "a container",
  async prepare(job) {
    const engine = await findEngine();
    await ensureImage(engine, job.log);
    const name = nameFor(job.directory);
    return {
      server: `MongoDB from ${image} in ${engine} (one node)`,
      ports: [job.port],
      async launch(_previous, record) {
        if (!(await exists(engine, name))) await create(engine, name, job.port);
        const started = await run(engine, ["start", name], { timeoutMs: actTimeoutMs });
        if (started.code !== 0) throw new Unavailable(`${engine} start failed: ${firstLine(started.errors)}`);
        const uri = `mongodb://127.0.0.1:${job.port}/${databaseName}?replicaSet=${setName}`;
        await record({ pids: [], uri, container: { engine, name } });
        await initiate([`127.0.0.1:${job.port}`]);
      },
      async ended() {
        return (await containerRuns({ engine, name }))
          ? undefined
          : `the container ${name} has ended; see: ${engine} logs ${name}`;
      },
    };
  },
};

/**
 * @typedef {{ engine: string, name: string }} Container
 * @param {Container} container
 */
export async function containerRuns({ engine, name }) {
  const { output } = await run(engine, ["inspect", "--format", "{{.State.Running}}", name], {
    timeoutMs: askTimeoutMs,
  });
  return output.trim() === "true";
}

/** @param {Container} container */
export async function stopContainer({ engine, name }) {
  await run(engine, ["stop", "-t", "15", name], { timeoutMs: actTimeoutMs });
}

/**
 * @param {Container} container
 * @returns {Promise<string | undefined>} why it could not be removed
 */
export async function removeContainer({ engine, name }) {
  const removed = await run(engine, ["rm", "--force", name], { timeoutMs: actTimeoutMs });
  const volume = await run(engine, ["volume", "rm", "--force", name], { timeoutMs: actTimeoutMs });
  if (removed.code === 0 && volume.code === 0) return undefined;
  return firstLine(removed.code === 0 ? volume.errors : removed.errors);
}

/** The first engine that answers: a client without one is common. */
async function findEngine() {
  /** @type {string[]} */
  const reasons = [];
  for (const engine of ["docker", "podman"]) {
    if (!(await findOnPath(engine))) {
      reasons.push(`${engine}: not found`);
      continue;
    }
    const { code, errors, timedOut } = await run(engine, ["info"], { timeoutMs: askTimeoutMs });
    if (code === 0) return engine;
    reasons.push(
      timedOut
        ? `${engine}: no answer in ${askTimeoutMs / 1000} s`
        : `${engine}: no engine answers (${firstLine(errors)})`,
    );
  }
  throw new Unavailable(reasons.join("; "));
}

/**
 * @param {string} engine
 * @param {(line: string) => void} log
 */
async function ensureImage(engine, log) {
  const there = await run(engine, ["image", "inspect", image], { timeoutMs: askTimeoutMs });
  if (there.code === 0) return;
  log(`Pulling ${image}, once (some 300 MB).`);
  const pulled = await run(engine, ["pull", image], {
    timeoutMs: pullTimeoutMs,
    onLine: (line) => {
      if (/complete|Downloaded|Copying/i.test(line)) log(`  ${line.trim().slice(0, 100)}`);
    },
  });
  if (pulled.code !== 0) {
    const reason = pulled.timedOut ? `not done after ${pullTimeoutMs / 60_000} minutes` : firstLine(pulled.errors);
    throw new Unavailable(`${engine} could not pull ${image}: ${reason}`);
  }
}

/**
 * @param {string} engine
 * @param {string} name - of the container and of the volume that keeps its data
 * @param {number} port
 */
async function create(engine, name, port) {
  // The same port inside and outside, so that the address by which the set knows its member is true on both sides.
  const created = await run(
    engine,
    [
      ...["create", "--name", name, "--publish", `127.0.0.1:${port}:${port}`, "--volume", `${name}:/data/db`, image],
      ...["--replSet", setName, "--bind_ip_all", "--port", String(port), "--wiredTigerCacheSizeGB", "0.25"],
      ...["--oplogSize", "1024"],
    ],
    { timeoutMs: actTimeoutMs },
  );
  if (created.code !== 0) throw new Unavailable(`${engine} create failed: ${firstLine(created.errors)}`);
}

/**
 * @param {string} engine
 * @param {string} name
 */
async function exists(engine, name) {
  return (await run(engine, ["inspect", name], { timeoutMs: askTimeoutMs })).code === 0;
}

/** @param {string} directory - each project has a container of its own */
function nameFor(directory) {
  return `tailgate-replica-${createHash("sha256").update(directory).digest("hex").slice(0, 8)}`;
}

/** @param {string} text */
function firstLine(text) {
  return text.trim().split("\n")[0] ?? "";
}
