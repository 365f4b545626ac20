import { hello, messageOf } from "./probe.mjs";
import { Trouble } from "./trouble.mjs";

/**
 * Looks at the database that the user has named, which is used instead of one of ours.
 *
 * @param {string} uri - MONGODB_URI
 * @param {(line: string) => void} log
 * @returns {Promise<string>} the URI without its credentials
 * @throws {Trouble} where it does not answer, or can't have change streams
 */
export async function checkGiven(uri, log) {
  const shown = withoutCredentials(uri);
  log("MONGODB_URI is set: that database is used, nothing is started.");
  const answer = await ask(uri, shown);
  if (answer.msg === "isdbgrid") log(`It answers: a sharded cluster, version ${answer.version}.`);
  else if (answer.setName) log(`It answers: replica set ${answer.setName}, version ${answer.version}.`);
  else {
    throw new Trouble(
      `${shown} answers, but it is a standalone server: change streams need a replica set.\n` +
        "Start it with --replSet and run rs.initiate(), or unset MONGODB_URI.",
    );
  }
  return shown;
}

/**
 * @param {string} uri
 * @param {string} shown
 */
async function ask(uri, shown) {
  try {
    return await hello(uri, 5_000);
  } catch (error) {
    throw new Trouble(
      `MONGODB_URI does not work: ${shown}\n${withoutCredentials(messageOf(error))}\n` +
        "Correct it, or unset MONGODB_URI to have a local replica set started.",
    );
  }
}

/** @param {string} text */
function withoutCredentials(text) {
  return text.replace(/(mongodb(?:\+srv)?:\/\/)[^/]*@/g, "$1[redacted]@");
}
