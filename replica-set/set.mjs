import { rm } from "node:fs/promises";
import { join } from "node:path";
import { directorySize, megabytes } from "./disk.mjs";
import { hello, messageOf } from "./probe.mjs";
import { isOurs, terminate } from "./process.mjs";
import { containerRuns, removeContainer, stopContainer } from "./ways/container.mjs";

/** @typedef {import("./state.mjs").State} State */

/**
 * How a set stands that was started before.
 *
 * @typedef {object} Condition
 * @property {number} running - nodes whose process lives
 * @property {number} nodes
 * @property {boolean} answers - a primary says hello
 * @property {string} [problem] - in a sentence, where something is not as it should be
 */

const graceMs = 20_000;

/**
 * @param {State} state
 * @returns {Promise<Condition>}
 */
export async function conditionOf(state) {
  const { running, nodes } = await countNodes(state);
  if (running === 0) {
    const who = state.container ? `container ${state.container.name}` : `process ${state.pids.join(", ")}`;
    const problem = state.stoppedAt ? `stopped at ${state.stoppedAt}` : `${who} is gone without having been stopped`;
    return { running, nodes, answers: false, problem };
  }
  try {
    const { isWritablePrimary } = await hello(state.uri, 3_000);
    const missing = running < nodes ? `${nodes - running} of ${nodes} nodes is gone` : undefined;
    return { running, nodes, answers: isWritablePrimary === true, problem: missing };
  } catch (error) {
    return { running, nodes, answers: false, problem: `it runs but does not answer: ${messageOf(error)}` };
  }
}

/** @param {State} state */
async function countNodes(state) {
  if (state.container) return { nodes: 1, running: (await containerRuns(state.container)) ? 1 : 0 };
  const alive = await Promise.all(state.pids.map((pid) => isOurs(pid, state.data)));
  return { nodes: alive.length, running: alive.filter(Boolean).length };
}

/**
 * @param {State} state
 * @returns {Promise<boolean>} whether something ran
 */
export async function stopSet(state) {
  const { running } = await countNodes(state);
  if (running === 0) return false;
  if (state.container) await stopContainer(state.container);
  await Promise.all(state.pids.map((pid) => terminate(pid, state.data, graceMs)));
  return true;
}

/**
 * Deletes what a stopped set has written, and nothing else: the directory may be one that the user chose.
 *
 * @param {string} directory
 * @param {State | undefined} state
 * @param {string[]} [names] - of the directory's entries
 * @returns {Promise<string[]>} what was deleted, for people
 */
export async function deleteSet(directory, state, names = ["data", "log", "state.json"]) {
  /** @type {string[]} */
  const deleted = [];
  if (state?.container) {
    const failure = await removeContainer(state.container);
    const what = `container and volume ${state.container.name}`;
    deleted.push(failure ? `${what}: not deleted, ${failure}` : what);
  }
  for (const name of names) {
    const path = join(directory, name);
    const size = await directorySize(path);
    if (size === 0) continue;
    await rm(path, { recursive: true, force: true });
    deleted.push(`${path} (${megabytes(size)})`);
  }
  return deleted;
}
