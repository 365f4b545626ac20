/**
 * One of the four ways to a replica set.
 *
 * @typedef {object} Way
 * @property {import("../settings.mjs").WayName} name
 * @property {string} title - for people, as in "1. mongod on PATH"
 * @property {(job: Job) => Promise<Launcher>} prepare - finds or fetches the server; throws Unavailable with the reason
 *
 * @typedef {object} Job
 * @property {string} directory - state, data and logs
 * @property {string} tools - what is installed or downloaded
 * @property {string} data - this way's data directory
 * @property {string} logs
 * @property {number} port - the first port
 * @property {(line: string) => void} log - progress, for people
 *
 * @typedef {object} Launcher
 * @property {string} server - name and version, for people
 * @property {number[]} ports - all that are needed
 * @property {(previous: import("../state.mjs").State | undefined, record: Recorder) => Promise<void>} launch - starts
 *   what does not run; records each process before it waits for it, so that no start can leave one behind unknown
 * @property {() => Promise<string | undefined>} ended - why there is no use in waiting
 *
 * @typedef {(facts: { pids?: number[], uri?: string, container?: { engine: string, name: string } }) => Promise<void>} Recorder
 */

/** The set's name in ways 1 to 3; SecantusDB has its own. */
export const setName = "rs0";
export const databaseName = "tailgate";
