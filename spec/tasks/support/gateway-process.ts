// A gateway in a process of its own: `gateway-process.ts URI CONCURRENCY LEASE_MILLISECONDS GRACE_SECONDS`.
// Prints its port when it is ready, its log on standard error, and stops at SIGTERM.
import { settingsOf } from "../../../src/config/load.js";
import { startGateway } from "../../../src/gateway.js";
import { createLog } from "../../../src/log.js";
import { computed, traced } from "./tasks-of-two.js";

const [mongo = "", concurrency, leaseMilliseconds, graceSeconds] = process.argv.slice(2);
const settings = settingsOf(
  {
    mongo,
    port: 0,
    auth: { anonymous: true },
    tasks: { definitions: [traced, computed], concurrency: Number(concurrency) },
    shutdown: { graceSeconds: Number(graceSeconds) },
  },
  {},
);
const gateway = await startGateway(
  { ...settings, tasks: { ...settings.tasks, leaseMilliseconds: Number(leaseMilliseconds) } },
  createLog("info"),
);
process.on("SIGTERM", () => void gateway.stop().then(() => process.exit(0)));
process.stdout.write(`${gateway.port}\n`);
