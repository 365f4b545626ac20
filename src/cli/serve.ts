import type { Command } from "commander";
import { loadSettings } from "../config/load.js";
import { exitCodeOf, exitCodes, TailgateError } from "../errors.js";
import type { Gateway } from "../gateway.js";
import { createLog, type Logger } from "../log.js";
import { reportFailure } from "./failure.js";
import { addSettingsOptions, addStartTimeout, type StartFlags } from "./options.js";

export function addServe(program: Command): void {
  const command = program.command("serve").description("run the gateway");
  addStartTimeout(addSettingsOptions(command), 30).action(serve);
}

async function serve({ startTimeout, ...flags }: StartFlags): Promise<void> {
  const starting = new AbortController();
  let log: Logger | undefined;
  let gateway: Gateway | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    // Someone who asks twice wants it now.
    if (starting.signal.aborted) process.exit(exitCodes.failure);
    log?.info({ signal: name }, "signal received");
    starting.abort(new Error(`${name} during start-up`));
    if (gateway !== undefined) void stopAndExit(gateway);
  };
  // First of all, so that a signal finds its handler whatever start-up is doing.
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  try {
    const settings = await loadSettings({ flags });
    log = createLog(settings.logLevel);
    logStrayErrors(log);
    const startGateway = await loadGateway();
    gateway = await startGateway(settings, log, starting.signal, { startTimeoutMilliseconds: startTimeout * 1_000 });
  } catch (error) {
    if (starting.signal.aborted) process.exit(exitCodes.ok);
    // The log is for machines, the last line for the person who started it.
    log?.fatal({ err: error, exitCode: exitCodeOf(error) }, "the gateway did not start");
    process.exit(reportFailure(error));
  }
  if (starting.signal.aborted) await stopAndExit(gateway);
}

async function stopAndExit(gateway: Gateway): Promise<void> {
  await gateway.stop();
  process.exit(exitCodes.ok);
}

/** Imported late: it loads a binary that may not fit this machine, which the other commands do without. */
async function loadGateway(): Promise<typeof import("../gateway.js").startGateway> {
  try {
    return (await import("../gateway.js")).startGateway;
  } catch (error) {
    throw new TailgateError(
      "gateway-not-loaded",
      `the gateway's code can't be loaded: ${(error as Error).message}\n\`tailgate doctor\` says what is wrong with Node or the uWebSockets binary.`,
      { cause: error },
    );
  }
}

function logStrayErrors(log: Logger): void {
  process.on("uncaughtException", (error) => {
    try {
      log.fatal({ err: error }, "uncaught exception");
    } finally {
      // Also where the log itself is what fails, for example because nobody reads its pipe any more.
      process.exit(exitCodes.failure);
    }
  });
  // Not fatal: the code that made the promise has gone on without its result, and nobody else waited for it.
  process.on("unhandledRejection", (error) => log.error({ err: error }, "unhandled rejection"));
}
