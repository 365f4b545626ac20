import { createHash } from "node:crypto";
import { BSON, type BSONSerializeOptions, type Db, type Document, MongoClient, type MongoClientOptions } from "mongodb";
import { DatabaseUnreachableError, TailgateError } from "./errors.js";
import { type Logger, redact } from "./log.js";
import { createBackoff, sleep, unlessAborted } from "./retry.js";
import { once, type Service } from "./service.js";
import { version } from "./version.js";

/**
 * How documents are decoded wherever the gateway reads them. A pattern that V8 can't compile, or a string that is not
 * UTF-8, is data like any other: one such document must not end the stream of all.
 */
export const decoding = {
  bsonRegExp: true,
  enableUtf8Validation: false,
  promoteBuffers: false,
} as const satisfies BSONSerializeOptions;

/**
 * @param bytes - a document in BSON
 * @returns the document as the driver would decode it with `decoding`
 * @throws BSONError
 */
export function decodeDocument(bytes: Uint8Array): Document {
  return BSON.deserialize(bytes, bsonDecoding);
}

/** What the driver makes of `decoding`. */
const bsonDecoding = { bsonRegExp: true, promoteBuffers: false, validation: { utf8: false as const } };

const authenticationFailed = 18;
/** Unauthorized, and what Atlas says instead of it. */
const unauthorizedCodes = new Set([13, 8000]);

/** @returns whether the server says that the user lacks a privilege, or that there is no user where one is needed */
export function isUnauthorized(error: unknown): boolean {
  return unauthorizedCodes.has(codeOf(error));
}

/** @returns whether the server refuses the user, for what waiting does not mend: a wrong password, or a missing privilege */
export function isUserRefused(error: unknown): boolean {
  return codeOf(error) === authenticationFailed || isUnauthorized(error);
}

function codeOf(error: unknown): number {
  return Number((error as { code?: unknown } | undefined)?.code);
}

const closeMilliseconds = 2_000;
/** A server that was found at the last moment still gets this long to answer. */
const leastAnswerMilliseconds = 1_000;

/** What the server can do, by its version. */
export interface Support {
  /** Pre- and post-images and expanded events (MongoDB 6.0). */
  images: boolean;
  expandedEvents: boolean;
  /** `$changeStreamSplitLargeEvent` (MongoDB 6.0.9). */
  splitEvents: boolean;
  /** Null in a filter equals the deprecated type undefined (until MongoDB 8.0). */
  undefinedEqualsNull: boolean;
  /** Whether it is MongoDB's own server: the times that others tell are not always true to what they have read. */
  isMongodb: boolean;
  /** Reads at a time of one's choice, outside of transactions (MongoDB 5.0). */
  snapshotReads: boolean;
}

export interface Database extends Service {
  readonly client: MongoClient;
  readonly db: Db;
  readonly support: Support;
  readonly serverVersion: string;
  /** Eight hexadecimal digits of the database's identity; see `position.ts`. */
  readonly tag: string;
  /** Whether the driver knows of a server that answers. */
  readonly isReachable: boolean;
  /**
   * Looks again which database it is: one may have been put in the other's place while there was no connection.
   *
   * @returns whether it is another one than before; `tag` is the new one's then
   * @throws the driver's errors
   */
  isReplaced(): Promise<boolean>;
}

/**
 * @param options.uri - with the database's name in its path
 * @param options.startTimeoutMilliseconds - how long `start` tries to reach the server
 */
export function createDatabase(options: { uri: string; log: Logger; startTimeoutMilliseconds?: number }): Database {
  const client = new MongoClient(options.uri, clientOptions(options.uri, options.startTimeoutMilliseconds));
  const db = client.db();
  let support: Support = supportOf({});
  let serverVersion = "";
  let tag = "00000000";
  let isByName = false;
  let isReachable = true;
  client.on("topologyDescriptionChanged", ({ newDescription }) => {
    isReachable = [...newDescription.servers.values()].some(({ type }) => type !== "Unknown");
  });
  return {
    name: "database",
    client,
    db,
    get support() {
      return support;
    },
    get serverVersion() {
      return serverVersion;
    },
    get tag() {
      return tag;
    },
    get isReachable() {
      return isReachable;
    },
    async isReplaced() {
      const found = await identify(client, db);
      // What may or may not be looked at any more says nothing.
      if (found.tag === tag || found.isByName !== isByName) return false;
      tag = found.tag;
      return true;
    },
    async start(signal) {
      await reach(client, options, signal, async () => {
        const build = await db.command({ buildInfo: 1 });
        serverVersion = String(build.version);
        support = supportOf(build);
        ({ tag, isByName } = await identify(client, db));
      });
      options.log.info(
        { database: db.databaseName, server: serverVersion, uri: redact(options.uri) },
        "database reached",
      );
    },
    // On a dead network closing takes as long as the sockets' own time limit, and there is nothing left to lose.
    stop: once(async () => void (await Promise.race([client.close(), sleep(closeMilliseconds)]))),
  };
}

function clientOptions(uri: string, startTimeoutMilliseconds = 30_000): MongoClientOptions {
  // Only the query: hosts may be many, or paths of sockets, which no URL parser reads.
  const query = uri.includes("?") ? uri.slice(uri.indexOf("?") + 1) : "";
  const named = new Set([...new URLSearchParams(query).keys()].map((key) => key.toLowerCase()));
  const unless = (name: string, value: MongoClientOptions): MongoClientOptions =>
    named.has(name.toLowerCase()) ? {} : value;
  return {
    appName: `tailgate/${version}`,
    ...unless("readConcernLevel", { readConcern: { level: "majority" } }),
    ...unless("w", { writeConcern: { w: "majority" } }),
    // A database that is away is told within seconds; whoever retries does so with the reason in hand.
    ...unless("serverSelectionTimeoutMS", { serverSelectionTimeoutMS: Math.min(5_000, startTimeoutMilliseconds) }),
    // After a state change the driver waits for its monitor's next answer, which a server may hold back this long.
    ...unless("heartbeatFrequencyMS", { heartbeatFrequencyMS: 2_000 }),
    ...unless("connectTimeoutMS", { connectTimeoutMS: 5_000 }),
    // A half-open connection would otherwise hold its caller for ever.
    ...unless("socketTimeoutMS", { socketTimeoutMS: 60_000 }),
    enableUtf8Validation: decoding.enableUtf8Validation,
  };
}

async function reach(
  client: MongoClient,
  options: { uri: string; log: Logger; startTimeoutMilliseconds?: number },
  signal: AbortSignal,
  look: () => Promise<void>,
): Promise<void> {
  const deadline = performance.now() + (options.startTimeoutMilliseconds ?? 30_000);
  const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 4_000, floorMilliseconds: 100 });
  /** The driver limits how long it looks for a server; for an answer it would wait as long as for any other. */
  const inTime = async (ask: () => Promise<void>): Promise<void> => {
    const late = AbortSignal.timeout(Math.max(leastAnswerMilliseconds, Math.ceil(deadline - performance.now())));
    await unlessAborted(ask(), AbortSignal.any([signal, late])).catch((error: unknown) => {
      throw late.aborted && !signal.aborted ? new Error("it does not answer", { cause: error }) : error;
    });
  };
  for (;;) {
    try {
      signal.throwIfAborted();
      await unlessAborted(client.connect(), signal);
      await inTime(async () => {
        const hello = await client.db().command({ hello: 1 });
        if (hello.setName === undefined && hello.msg !== "isdbgrid") throw notAReplicaSet();
        await look();
      });
      return;
    } catch (error) {
      if (error instanceof TailgateError || signal.aborted) throw error;
      // A wrong password or a missing privilege does not mend by waiting.
      if (isUserRefused(error) || performance.now() > deadline) {
        throw new DatabaseUnreachableError(
          `the database at ${redact(options.uri)} can't be reached: ${(error as Error).message}. Is it running? \`make replica\` starts a local one; MONGODB_URI names another.`,
          { cause: error },
        );
      }
      options.log.warn({ err: error }, "database not reached yet");
      // Some failures come at once, such as a name that does not exist.
      await sleep(backoff.next(), signal);
    }
  }
}

export function notAReplicaSet(): TailgateError {
  return new TailgateError(
    "not-a-replica-set",
    "the database is not a replica set, and only a replica set has change streams: start mongod with --replSet and call rs.initiate() once, or run `make replica`",
  );
}

/** @param build - the answer to `buildInfo` */
export function supportOf(build: Document): Support {
  const [major = 0, minor = 0, patch = 0] = String(build.version)
    .split(".")
    .map((part) => Number.parseInt(part, 10) || 0);
  const atLeast = (a: number, b: number, c: number): boolean =>
    major !== a ? major > a : minor !== b ? minor > b : patch >= c;
  // Servers that speak its protocol take its version over, but not these two.
  const isMongodb =
    Array.isArray(build.modules) && typeof build.allocator === "string" && !("secantusVersion" in build);
  return {
    images: atLeast(6, 0, 0),
    expandedEvents: atLeast(6, 0, 0),
    // Split events came with 7.0, and to 6.0 with 6.0.9, but not to the versions between.
    splitEvents: atLeast(7, 0, 0) || (major === 6 && minor === 0 && patch >= 9),
    undefinedEqualsNull: !atLeast(8, 0, 0),
    isMongodb,
    snapshotReads: isMongodb && atLeast(5, 0, 0),
  };
}

/**
 * A position of one database must not be taken for one of another. Names alone don't tell a database from the one that
 * replaced it, so a collection goes in that lives as long as the data: `admin.system.version`, replicated to all members, or,
 * where a server has none, its oplog. An oplog is a member's own, so it serves only where it is certain that there is nothing
 * better; where the first may not be listed, the names have to do.
 */
async function identify(client: MongoClient, db: Db): Promise<{ tag: string; isByName: boolean }> {
  const hello = await db.command({ hello: 1 });
  const version = await uuidOf(client, "admin", "system.version");
  const uuid = version === "none" ? await uuidOf(client, "local", "oplog.rs") : version;
  const tag = createHash("sha256")
    .update(`${hello.setName ?? "sharded"}\n${db.databaseName}\n${uuid}`)
    .digest("hex")
    .slice(0, 8);
  return { tag, isByName: uuid === notAllowed };
}

async function uuidOf(client: MongoClient, database: string, collection: string): Promise<string> {
  try {
    const [found] = await client.db(database).listCollections({ name: collection }).toArray();
    const uuid = (found as { info?: { uuid?: unknown } } | undefined)?.info?.uuid;
    return uuid === undefined ? "none" : String(uuid);
  } catch (error) {
    // No privilege to list that database's collections, or no such thing there: nothing that reading the interfaces needs. A
    // connection that broke, or a server that is about to stop, says nothing of that, and would make positions that nobody knows.
    if (isUnauthorized(error) || unsupportedCodes.has(codeOf(error))) return notAllowed;
    throw error;
  }
}

/** In the place of what may not be listed. */
const notAllowed = "not allowed";
/** IllegalOperation, CommandNotFound, InvalidNamespace, CommandNotSupported, NotImplemented. */
const unsupportedCodes = new Set([20, 59, 73, 115, 238]);
