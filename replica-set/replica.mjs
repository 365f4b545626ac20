import { join } from "node:path";
import { defaultUri } from "./default-uri.mjs";
import { directorySize, megabytes } from "./disk.mjs";
import { withLock } from "./lock.mjs";
import { readSettings } from "./settings.mjs";
import { readState, writeState } from "./state.mjs";
import { Trouble } from "./trouble.mjs";

/**
 * @typedef {import("./settings.mjs").Settings} Settings
 * @typedef {import("./state.mjs").State} State
 */

const usage = "Usage: node replica-set/replica.mjs start|stop|status|reset|uri";
const log = (/** @type {string} */ line) => console.log(line);

/** @type {Record<string, (settings: Settings) => Promise<number>>} */
const commands = { start, stop, status, reset, uri };

/** @param {Settings} settings */
async function start(settings) {
  const uri = settings.uri
    ? await (await import("./given.mjs")).checkGiven(settings.uri, log)
    : await (await import("./start.mjs")).start(settings, log);
  log(uri);
  return 0;
}

/** @param {Settings} settings */
async function stop(settings) {
  const { stopSet } = await import("./set.mjs");
  return locked(settings, async (state) => {
    if (!state) log("There is no local replica set.");
    else if (await stopSet(state)) {
      await writeState(settings.directory, { ...state, stoppedAt: new Date().toISOString() });
      log(`Stopped ${state.server}. Its data is kept; \`make replica\` starts it again.`);
    } else log("The local replica set is not running.");
    return 0;
  });
}

/** @param {Settings} settings */
async function reset(settings) {
  const { stopSet, deleteSet } = await import("./set.mjs");
  return locked(settings, async (state) => {
    if (state && (await stopSet(state))) log(`Stopped ${state.server}.`);
    const deleted = await deleteSet(settings.directory, state);
    for (const what of deleted) log(`Deleted ${what}`);
    if (deleted.length === 0) log("There was nothing to delete.");
    return 0;
  });
}

/** @param {Settings} settings */
async function status(settings) {
  if (settings.uri) {
    await (await import("./given.mjs")).checkGiven(settings.uri, log);
    return 0;
  }
  const state = await readState(settings.directory);
  if (!state) {
    log("There is no local replica set; `make replica` starts one.");
    return 1;
  }
  const { conditionOf } = await import("./set.mjs");
  const { answers, problem } = await conditionOf(state);
  log(`${answers ? "running" : "not running"}${problem ? `: ${problem}` : ""}`);
  for (const line of state.because) log(`  ${line}`);
  log(`server:   ${state.server}, way ${state.because.length + 1}: ${state.way}`);
  log(`URI:      ${state.uri}`);
  if (answers) {
    log(`process:  ${state.container ? `container ${state.container.name}` : state.pids.join(", ")}`);
    log(`up since: ${state.startedAt}, ${minutesSince(state.startedAt)} minutes`);
  } else log("          `make replica` starts it again with its data");
  log(
    state.container
      ? `data:     volume ${state.container.name}`
      : `data:     ${megabytes(await directorySize(state.data))} in ${state.data}`,
  );
  log(`logs:     ${join(settings.directory, "log")}`);
  return answers ? 0 : 1;
}

/** @param {Settings} settings */
async function uri(settings) {
  log(defaultUri(settings.directory));
  return 0;
}

/** @param {string} instant - ISO 8601 */
function minutesSince(instant) {
  return Math.round((Date.now() - Date.parse(instant)) / 60_000);
}

/**
 * @param {Settings} settings
 * @param {(state: State | undefined) => Promise<number>} work
 */
function locked(settings, work) {
  if (settings.uri) log("MONGODB_URI is set; that database is left alone. This is about the local replica set.");
  return withLock(join(settings.directory, "lock"), log, async () => work(await readState(settings.directory)));
}

async function main() {
  const [name = "", ...rest] = process.argv.slice(2);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!command || rest.length > 0) {
    console.error(usage);
    return 2;
  }
  try {
    return await command(readSettings());
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    console.error(error.message);
    return 1;
  }
}

// Not left to the event loop: a detached server's handles must not keep the command waiting.
process.exit(await main());
