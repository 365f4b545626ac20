import { mkdir, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, withClient } from "../probe.mjs";
import { isOurs } from "../process.mjs";
import { Unavailable } from "../trouble.mjs";
import { databaseName, setName } from "./way.mjs";

const nodeCount = 3;
/** The server's error code `AlreadyInitialized`. */
const alreadyInitialized = 23;

/**
 * Three mongod processes as one replica set. mongodb-runner starts each of them, but its clusters are for one run: it
 * picks new directories and ports each time and deletes the data at the end. So the set's life, which goes on over
 * stops and starts, is kept here.
 *
 * @param {import("./way.mjs").Job} job
 * @param {string} binDir - holds `mongod`
 * @param {string} server - name and version, for people
 * @returns {import("./way.mjs").Launcher}
 */
export function threeNodes(job, binDir, server) {
  const ports = Array.from({ length: nodeCount }, (_, index) => job.port + index);
  const hosts = ports.map((port) => `127.0.0.1:${port}`);
  /** @type {number[]} */
  const pids = [];
  return {
    server,
    ports,
    async launch(previous, record) {
      // Known from the start on, so that an interrupted start forgets none that still runs.
      pids.push(...(previous?.pids ?? []));
      for (const [index, port] of ports.entries()) {
        if (!(await isOurs(pids[index] ?? 0, job.data))) pids[index] = await startNode(job, binDir, index, port);
        await record({ pids: [...pids], uri: `mongodb://${hosts.join(",")}/${databaseName}?replicaSet=${setName}` });
      }
      await initiate(hosts);
    },
    async ended() {
      for (const [index, pid] of pids.entries()) {
        if (!(await isOurs(pid, job.data))) return `node ${index + 1} has ended; see ${job.logs}`;
      }
      return undefined;
    },
  };
}

/**
 * Makes one set of the nodes unless they are one already.
 *
 * @param {string[]} hosts - the first one is asked, and will usually be the primary
 */
export async function initiate(hosts) {
  await withClient(`mongodb://${hosts[0]}/?directConnection=true`, 30_000, async (client) => {
    const admin = client.db("admin");
    if ((await admin.command({ hello: 1 })).setName) return;
    const config = {
      _id: setName,
      members: hosts.map((host, index) => ({ _id: index, host })),
      // On one machine there is no slow network to be patient with: a killed primary is replaced in 3 s, not 10.
      settings: { electionTimeoutMillis: 3_000, heartbeatIntervalMillis: 500 },
    };
    try {
      await admin.command({ replSetInitiate: config });
    } catch (error) {
      // A node that has just been started again can say hello before it has read that it belongs to a set.
      if (/** @type {{ code?: unknown }} */ (error).code !== alreadyInitialized) throw error;
    }
  });
}

/**
 * @param {import("./way.mjs").Job} job
 * @param {string} binDir
 * @param {number} index
 * @param {number} port
 */
async function startNode(job, binDir, index, port) {
  const dbpath = join(job.data, `node-${index + 1}`);
  await mkdir(dbpath, { recursive: true });
  await mkdir(job.logs, { recursive: true });
  // Loading it takes longer than all else that a start of a running set does, so not before it is needed.
  const { MongoServer } = await import("mongodb-runner");
  job.log(`Starting node ${index + 1} of ${nodeCount} on port ${port}.`);
  try {
    const node = await MongoServer.start({
      binary: "mongod",
      binDir,
      tmpDir: job.data,
      logDir: job.logs,
      args: [
        ...["--replSet", setName, "--bind_ip", "127.0.0.1", "--port", String(port), "--dbpath", dbpath],
        // Three defaults would take half of the memory each and 5 % of the disk.
        ...["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "1024"],
      ],
    });
    node.unref();
    await removeEmptyDirectories(job.data);
    return Number(/** @type {{ pid: number }} */ (node.serialize()).pid);
  } catch (error) {
    throw new Unavailable(`mongod does not start: ${messageOf(error).split("\n")[0]}`);
  }
}

/**
 * mongodb-runner makes a directory for each start, also where `--dbpath` names another.
 *
 * @param {string} data
 */
async function removeEmptyDirectories(data) {
  for (const name of await readdir(data)) if (name.startsWith("db-")) await rmdir(join(data, name));
}
