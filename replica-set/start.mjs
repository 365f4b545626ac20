import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { withLock } from "./lock.mjs";
import { hello, messageOf, waitUntilReady } from "./probe.mjs";
import { portIsFree } from "./process.mjs";
import { conditionOf, deleteSet, stopSet } from "./set.mjs";
import { readState, writeState } from "./state.mjs";
import { Trouble, Unavailable } from "./trouble.mjs";
import { container } from "./ways/container.mjs";
import { downloadedMongod } from "./ways/download.mjs";
import { mongodOnPath } from "./ways/mongod.mjs";
import { secantus } from "./ways/secantus.mjs";

/**
 * @typedef {import("./settings.mjs").Settings} Settings
 * @typedef {import("./state.mjs").State} State
 * @typedef {import("./ways/way.mjs").Way} Way
 * @typedef {(line: string) => void} Log
 */

const defaultPort = 27117;
const readyTimeoutMs = 90_000;
const ways = [mongodOnPath, downloadedMongod, container, secantus];

/**
 * A replica set runs and is ready when this resolves.
 *
 * @param {Settings} settings
 * @param {Log} log
 * @returns {Promise<string>} its URI
 * @throws {Trouble} that a person can mend
 */
export async function start(settings, log) {
  const lock = join(settings.directory, "lock");
  return withLock(lock, log, async () => {
    const state = await readState(settings.directory);
    if (!state) return await firstStart(settings, log);
    const condition = await conditionOf(state);
    if (condition.running > 0) refuseOtherPort(settings, state);
    if (condition.answers && !condition.problem) {
      log(`Already running: ${state.server}, since ${state.startedAt}.`);
      return state.uri;
    }
    if (condition.running === condition.nodes) return await waitForAnswer(state, log);
    log(`Found a set that was started before; ${condition.problem}. Its data is kept.`);
    return await startAgain(settings, state, log);
  });
}

/**
 * @param {Settings} settings
 * @param {Log} log
 */
async function firstStart(settings, log) {
  const port = settings.port ?? defaultPort;
  await refusePortInUse([port]);
  /** @type {string[]} */
  const because = [];
  for (const [index, way] of ways.entries()) {
    const label = `${index + 1}. ${way.title}`;
    if (settings.forced && settings.forced !== way.name) {
      because.push(`${label}: not tried, TAILGATE_REPLICA=${settings.forced}`);
      log(/** @type {string} */ (because.at(-1)));
      continue;
    }
    const job = jobFor(settings, way, port, log);
    try {
      const launcher = await way.prepare(job);
      log(`${label}: taken, ${launcher.server}`);
      return await launch(settings, way, job, launcher, because, undefined);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      because.push(`${label}: ${error.message}`);
      log(/** @type {string} */ (because.at(-1)));
      await removeTraces(settings.directory);
    }
  }
  const what = settings.forced
    ? `TAILGATE_REPLICA=${settings.forced} does not work here.`
    : "None of the four ways works here.";
  throw new Trouble(`${what} Mend that, or set MONGODB_URI to a replica set.`);
}

/**
 * The way stays what it was, for the data can be read only by the server that wrote it.
 *
 * @param {Settings} settings
 * @param {State} state
 * @param {Log} log
 */
async function startAgain(settings, state, log) {
  const way = /** @type {Way} */ (ways.find(({ name }) => name === state.way));
  if (settings.forced && settings.forced !== way.name) {
    throw new Trouble(
      `The data here was written by ${state.server}, and TAILGATE_REPLICA=${settings.forced} can't read it. ` +
        "`make replica-reset` deletes it and lets you choose anew.",
    );
  }
  const port = settings.port ?? state.port;
  if (port !== state.port && way.name !== "secantus") {
    throw new Trouble(
      `This set is bound to port ${state.port}: its configuration names it. Use that, or \`make replica-reset\`.`,
    );
  }
  for (const line of state.because) log(`${line} (when the way was chosen)`);
  const job = jobFor(settings, way, port, log);
  try {
    const launcher = await way.prepare(job);
    log(`${ways.indexOf(way) + 1}. ${way.title}: taken as before, ${launcher.server}`);
    return await launch(settings, way, job, launcher, state.because, state);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    throw new Trouble(
      `${way.title}, which wrote the data here, does not work now: ${error.message}. ` +
        "Mend that, or let `make replica-reset` delete the data and choose anew.",
    );
  }
}

/**
 * @param {Settings} settings
 * @param {Way} way
 * @param {import("./ways/way.mjs").Job} job
 * @param {import("./ways/way.mjs").Launcher} launcher
 * @param {string[]} because
 * @param {State | undefined} previous
 * @returns {Promise<string>} the URI
 */
async function launch(settings, way, job, launcher, because, previous) {
  const running = previous ? (await conditionOf(previous)).running : 0;
  if (running === 0) await refusePortInUse(launcher.ports);
  await mkdir(job.data, { recursive: true });
  /** @type {State} */
  let state = {
    way: way.name,
    because,
    server: launcher.server,
    uri: "",
    port: job.port,
    pids: [],
    data: job.data,
    startedAt: new Date().toISOString(),
  };
  const startedAt = performance.now();
  await launcher.launch(previous, async (facts) => {
    state = { ...state, ...facts };
    await writeState(settings.directory, state);
  });
  job.log("Waiting until it takes a write and a change stream shows it.");
  await waitUntilReady(state.uri, { timeoutMs: readyTimeoutMs, ended: launcher.ended });
  job.log(`Ready after ${((performance.now() - startedAt) / 1000).toFixed(1)} s. Its data is kept in ${job.data}.`);
  return state.uri;
}

/**
 * All nodes run, but nobody answers as primary: a set that is just starting or electing, or one that hangs.
 *
 * @param {State} state
 * @param {Log} log
 */
async function waitForAnswer(state, log) {
  log(`${state.server} runs but does not answer yet; waiting.`);
  try {
    await waitUntilReady(state.uri, { timeoutMs: 30_000, ended: async () => undefined });
    return state.uri;
  } catch (error) {
    throw new Trouble(`${messageOf(error)}\nTry \`make replica-stop\`, then \`make replica\`.`);
  }
}

/**
 * @param {Settings} settings
 * @param {State} state
 */
function refuseOtherPort(settings, state) {
  if (settings.port === undefined || settings.port === state.port) return;
  throw new Trouble(
    `REPLICA_PORT=${settings.port} was asked for, but the set runs on port ${state.port}. ` +
      "Stop it first: make replica-stop",
  );
}

/** @param {number[]} ports */
async function refusePortInUse(ports) {
  for (const port of ports) {
    if (await portIsFree(port)) continue;
    throw new Trouble(
      `Port ${port} is in use by ${await whoIsOn(port)}, which \`make replica\` did not start from here.\n` +
        `Either take another port: REPLICA_PORT=${port + 1000 > 65000 ? port - 1000 : port + 1000} make replica\n` +
        `or use a replica set that you have: MONGODB_URI=mongodb://… make replica`,
    );
  }
}

/** @param {number} port */
async function whoIsOn(port) {
  try {
    const { setName, version } = await hello(`mongodb://127.0.0.1:${port}/?directConnection=true`, 1_000);
    return `a MongoDB server, version ${version}, ${setName ? `replica set ${setName}` : "no replica set"}`;
  } catch {
    // No MongoDB, or none that lets us in: who it is remains unknown.
    return "another program";
  }
}

/**
 * After a way that began and then failed, the next one finds nothing of it.
 *
 * @param {string} directory
 */
async function removeTraces(directory) {
  const state = await readState(directory);
  if (state) await stopSet(state);
  // The log stays: the reason that was told may point to it.
  await deleteSet(directory, state, ["data", "state.json"]);
}

/**
 * @param {Settings} settings
 * @param {Way} way
 * @param {number} port
 * @param {Log} log
 * @returns {import("./ways/way.mjs").Job}
 */
function jobFor(settings, way, port, log) {
  return {
    directory: settings.directory,
    tools: settings.tools,
    data: join(settings.directory, "data", way.name),
    logs: join(settings.directory, "log"),
    port,
    log,
  };
}
