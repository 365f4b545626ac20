import { availableParallelism } from "node:os";
import { version } from "../version.js";

/** What holds where nothing is configured. docs/configuration.md repeats each value; a spec compares them. */
export const defaults = {
  host: "127.0.0.1",
  port: 8080,
  logLevel: "info",
  configurationFile: "tailgate.config.yaml",
  auth: { anonymous: false, closeCode: 4401, queryToken: false },
  history: { events: 100_000, megabytes: 64, replayLimit: 100_000 },
  snapshots: { readConcern: "auto" },
  limits: {
    payloadKilobytes: 16,
    subscriptionsPerConnection: 128,
    connectionsPerUser: 20,
    messagesPerMinute: 600,
    bufferedMegabytes: 1,
    idleSeconds: 60,
  },
  tasks: { concurrency: 2, queue: 1000, timeoutSeconds: 300 },
  http: { userAgent: `tailgate/${version}`, timeoutSeconds: 10, totalTimeoutSeconds: 60, retries: 2 },
  // Threads wait for input and output, so their number follows no processor; processes compute, and one processor is
  // left to the event loop.
  executors: { threads: 4, processes: Math.max(1, availableParallelism() - 1), queue: 1000 },
  metrics: { public: false },
  // Containers are commonly killed ten seconds after their SIGTERM.
  shutdown: { graceSeconds: 8 },
} as const;

/** Which algorithms are accepted where none are named: one for a shared secret, those of key pairs for a key set. */
export const defaultAlgorithms = {
  secret: ["HS256"],
  jwksUrl: ["RS256", "PS256", "ES256", "EdDSA"],
} as const;
