import { join } from "node:path";
import { isOurs } from "../process.mjs";
import { ensureSecantus, secantusUri, secantusVersion, startSecantus } from "../secantus.mjs";
import { databaseName } from "./way.mjs";

/** @type {import("./way.mjs").Way} */
export const secantus = {
  name: "secantus",
  title: "SecantusDB from PyPI",
  async prepare(job) {
    await ensureSecantus({ log: job.log, tools: job.tools });
    let pid = 0;
    return {
      server: `SecantusDB ${secantusVersion} (one node)`,
      ports: [job.port],
      async launch(_previous, record) {
        job.log(`Starting it on port ${job.port}.`);
        await startSecantus({
          port: job.port,
          storagePath: job.data,
          logFile: join(job.logs, "secantus.log"),
          tools: job.tools,
          detached: true,
          onSpawn: async (spawned) => {
            pid = spawned;
            await record({ pids: [pid], uri: secantusUri(job.port, databaseName) });
          },
        });
      },
      async ended() {
        return (await isOurs(pid, job.data))
          ? undefined
          : `SecantusDB has ended; see ${join(job.logs, "secantus.log")}`;
      },
    };
  },
};
