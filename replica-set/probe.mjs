import { MongoClient } from "mongodb";
import { Unavailable } from "./trouble.mjs";

/**
 * @typedef {object} Hello
 * @property {string} [setName]
 * @property {boolean} [isWritablePrimary]
 * @property {string} [msg] - `isdbgrid` from a mongos
 * @property {string} version
 */

/**
 * Asks a server what it is.
 *
 * @param {string} uri
 * @param {number} timeoutMs - for finding the server and for its answer
 * @returns {Promise<Hello>}
 * @throws what the driver throws
 */
export async function hello(uri, timeoutMs) {
  return withClient(uri, timeoutMs, async (client) => {
    const answer = await client.db("admin").command({ hello: 1 });
    const { version } = await client.db("admin").command({ buildInfo: 1 });
    return /** @type {Hello} */ ({ ...answer, version });
  });
}

/**
 * Waits until the set is good for the gateway: a primary takes a write, and a change stream shows it.
 *
 * @param {string} uri
 * @param {object} options
 * @param {number} options.timeoutMs
 * @param {() => Promise<string | undefined>} options.ended - why there is no use in waiting on, if the server has ended
 * @returns {Promise<Hello>}
 * @throws {Unavailable} with the last reason, once the time is over or the server has ended
 */
export async function waitUntilReady(uri, { timeoutMs, ended }) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    try {
      const answer = await hello(uri, 2_000);
      if (!answer.isWritablePrimary) throw new Error("it is no primary yet");
      await seeOwnWrite(uri);
      return answer;
    } catch (error) {
      const reason = await ended();
      if (reason) throw new Unavailable(reason);
      if (performance.now() > deadline) {
        throw new Unavailable(`the server did not get ready in ${timeoutMs / 1000} s: ${messageOf(error)}`);
      }
    }
  }
}

/**
 * @template T
 * @param {string} uri
 * @param {number} timeoutMs
 * @param {(client: MongoClient) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withClient(uri, timeoutMs, work) {
  const client = new MongoClient(uri, {
    serverSelectionTimeoutMS: timeoutMs,
    connectTimeoutMS: timeoutMs,
    socketTimeoutMS: Math.max(timeoutMs, 5_000),
  });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {string} uri */
async function seeOwnWrite(uri) {
  // A database of its own, so that nothing shows up in the one that people look at.
  await withClient(uri, 2_000, async (client) => {
    const checks = client.db("tailgate_replica").collection("checks");
    const stream = checks.watch([], { maxAwaitTimeMS: 100 });
    try {
      await stream.tryNext();
      await checks.insertOne({ at: new Date() }, { writeConcern: { w: "majority", wtimeoutMS: 10_000 } });
      const deadline = performance.now() + 10_000;
      while (!(await stream.tryNext())) {
        if (performance.now() > deadline) throw new Error("a change stream does not show a write");
      }
    } finally {
      await stream.close();
    }
    await client.db("tailgate_replica").dropDatabase();
  });
}
