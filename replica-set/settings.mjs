import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Trouble } from "./trouble.mjs";

/** The ways to a replica set, in the order in which they are tried. */
export const wayNames = /** @type {const} */ (["mongod", "download", "container", "secantus"]);

/**
 * @typedef {(typeof wayNames)[number]} WayName
 *
 * @typedef {object} Settings
 * @property {string} directory - state, data and logs (`REPLICA_DIR`)
 * @property {string} tools - what was installed or downloaded; survives a reset (`REPLICA_TOOLS_DIR`)
 * @property {number | undefined} port - the port that was asked for (`REPLICA_PORT`)
 * @property {WayName | undefined} forced - the one way that may be taken (`TAILGATE_REPLICA`)
 * @property {string | undefined} uri - a database to use instead (`MONGODB_URI`)
 */

const project = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Settings}
 * @throws {Trouble} where a value can't be used
 */
export function readSettings(env = process.env) {
  const directory = resolve(env.REPLICA_DIR || join(project, ".replica"));
  return {
    directory,
    tools: toolsDirectory(env),
    port: portOf(env.REPLICA_PORT),
    forced: wayOf(env.TAILGATE_REPLICA),
    uri: env.MONGODB_URI || undefined,
  };
}

/**
 * Specs have state directories of their own and share the tools, for installing them takes much longer than a spec.
 *
 * @param {NodeJS.ProcessEnv} [env]
 */
export function toolsDirectory(env = process.env) {
  return resolve(env.REPLICA_TOOLS_DIR || join(project, ".replica", "tools"));
}

/** @param {string | undefined} text */
function portOf(text) {
  if (!text) return undefined;
  const port = Number(text);
  // A set of three takes the two ports above as well.
  if (Number.isInteger(port) && port >= 1 && port <= 65533) return port;
  throw new Trouble(`REPLICA_PORT=${text} is no port: give a whole number from 1 to 65533.`);
}

/** @param {string | undefined} text */
function wayOf(text) {
  if (!text) return undefined;
  const way = wayNames.find((name) => name === text);
  if (way) return way;
  throw new Trouble(`TAILGATE_REPLICA=${text} is unknown: it is one of ${wayNames.join(", ")}.`);
}
