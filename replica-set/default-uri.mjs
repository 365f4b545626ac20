import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Where `make replica` puts the database when nothing else is said. It names no set: with one address and neither
 * `replicaSet` nor `directConnection`, drivers ask the server and follow the whole set, whatever its name.
 */
export const fallbackUri = "mongodb://127.0.0.1:27117/tailgate";

/**
 * The URI that a program uses when it was given none: the one in the state file of `make replica`, also when the set
 * is stopped at the moment, else {@link fallbackUri}.
 *
 * @param {string} [directory] - where `make replica` keeps its state; default `REPLICA_DIR`, else `.replica` in the
 *   working directory
 * @returns {string}
 */
export function defaultUri(directory = process.env.REPLICA_DIR || join(process.cwd(), ".replica")) {
  try {
    const { uri } = JSON.parse(readFileSync(join(directory, "state.json"), "utf8"));
    return typeof uri === "string" ? uri : fallbackUri;
  } catch {
    // No state, or half of one: `make replica` has not run here, and the fallback is what it would choose.
    return fallbackUri;
  }
}
