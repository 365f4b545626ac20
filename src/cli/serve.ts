import type { Command } from "commander";
import { type Flags, loadSettings } from "../config/load.js";
import { exitCodeOf, exitCodes } from "../errors.js";
import { startGateway } from "../gateway.js";
import { createLog } from "../log.js";

export function addServe(program: Command): void {
  program
    .command("serve")
    .description("run the gateway")
    .option("-c, --config <file>", "configuration file: .yaml, .json or a module")
    .option("--mongo <uri>", "the database, with its name in the path")
    .option("--host <address>", "where to listen")
    .option("--port <number>", "where to listen")
    .option("--log-level <level>", "fatal, error, warn, info, debug, trace or silent")
    .action(serve);
}

async function serve(flags: Flags): Promise<void> {
  const settings = await loadSettings({ flags });
  const log = createLog(settings.logLevel);
  const starting = new AbortController();
  let stop: (() => Promise<void>) | undefined;
  let signals = 0;
  const onSignal = (name: NodeJS.Signals): void => {
    // Someone who asks twice wants it now.
    if (++signals > 1) process.exit(exitCodes.failure);
    log.info({ signal: name }, "signal received");
    starting.abort(new Error(`${name} during start-up`));
    void stop?.().then(() => process.exit(exitCodes.ok));
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  process.on("unhandledRejection", (error) => {
    log.error({ err: error }, "unhandled rejection");
  });
  try {
    const gateway = await startGateway(settings, log, starting.signal);
    stop = gateway.stop;
  } catch (error) {
    if (signals > 0) process.exit(exitCodes.ok);
    log.fatal({ err: error }, "the gateway did not start");
    process.stderr.write(`tailgate: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(exitCodeOf(error));
  }
  if (signals > 0) await stop().then(() => process.exit(exitCodes.ok));
}
