import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

/**
 * What is known of the replica set, kept from the first start until a reset.
 *
 * @typedef {object} State
 * @property {import("./settings.mjs").WayName} way - kept for later starts: the data belongs to the server that wrote it
 * @property {string[]} because - why each earlier way was not taken
 * @property {string} server - name and version, for people
 * @property {string} uri
 * @property {number} port - the first one
 * @property {number[]} pids - one per node; none for a container
 * @property {{ engine: string, name: string }} [container]
 * @property {string} data - the data directory, which stands in each node's command line
 * @property {string} startedAt - ISO 8601
 * @property {string} [stoppedAt] - ISO 8601; absent while it should be running
 */

/** @param {string} directory */
const fileIn = (directory) => join(directory, "state.json");

/**
 * @param {string} directory
 * @returns {Promise<State | undefined>}
 */
export async function readState(directory) {
  try {
    return JSON.parse(await readFile(fileIn(directory), "utf8"));
  } catch (error) {
    if (error instanceof SyntaxError || /** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT")
      return undefined;
    throw error;
  }
}

/**
 * Replaces the state in one step, so that a reader never sees half of it.
 *
 * @param {string} directory
 * @param {State} state
 */
export async function writeState(directory, state) {
  await mkdir(directory, { recursive: true });
  const draft = `${fileIn(directory)}.${process.pid}`;
  await writeFile(draft, `${JSON.stringify(state, null, 2)}\n`);
  await rename(draft, fileIn(directory));
}
