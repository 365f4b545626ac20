import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Db, MongoClient } from "mongodb";
import { type SecantusServer, startSecantus } from "../../replica-set/secantus.mjs";
import { freePort } from "./port.js";

/** A database server of a spec's own, to be killed, stalled or rolled. */
export interface OwnServer extends SecantusServer {
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

/** What specs start their servers with: fail points on, and nothing acknowledged is lost when they are killed. */
const flags = ["--enable-test-commands", "--noop-heartbeat-seconds", "2"];

export async function startOwnServer(more: readonly string[] = []): Promise<OwnServer> {
  const folder = await mkdtemp(join(tmpdir(), "tailgate-spec-"));
  const port = await freePort();
  const server = await startSecantus({ storagePath: join(folder, "data"), port, flags: [...flags, ...more] });
  // Its members are live: a spread would freeze the process id of before a restart.
  return Object.assign(Object.create(server) as SecantusServer, {
    async dispose() {
      await server.kill("SIGCONT");
      await server.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    },
  });
}

export interface SpecDatabase {
  readonly uri: string;
  readonly db: Db;
  readonly client: MongoClient;
  /** Drops the database and closes the client. */
  dispose(): Promise<void>;
}

/** A server that specs share. */
interface Shared {
  readonly server: Promise<OwnServer>;
  /** Databases that it was asked for, and those of them that are not disposed of. */
  given: number;
  open: number;
}

/** SecantusDB reads its whole oplog whenever a gateway starts, so that a server is used for some databases only. */
const databasesPerServer = 20;
const sharedServers = new Set<Shared>();
let current: Shared | undefined;
let databases = 0;

function sharedServer(): Shared {
  if (current === undefined || current.given === databasesPerServer) {
    current = { server: startOwnServer(), given: 0, open: 0 };
    sharedServers.add(current);
  }
  current.given += 1;
  current.open += 1;
  return current;
}

async function giveBack(shared: Shared): Promise<void> {
  shared.open -= 1;
  if (shared.open > 0 || shared === current) return;
  sharedServers.delete(shared);
  await (await shared.server).dispose();
}

/** Whether specs run against a server that was given to them: it has to be left as it was, and can't be killed. */
export const givenUri = process.env.MONGODB_URI;

function freshName(): string {
  return `spec_${process.pid}_${++databases}`;
}

function uriOnGivenServer(given: string): string {
  const uri = new URL(given);
  uri.pathname = `/${freshName()}`;
  return uri.href;
}

/** @returns a URI on a server that specs share, with a database of the caller's own in its path. */
export async function freshUri(): Promise<string> {
  return givenUri ? uriOnGivenServer(givenUri) : (await sharedServer().server).uri(freshName());
}

/** A fresh database, on a shared server or on the one given. */
export async function freshDatabase(server?: OwnServer): Promise<SpecDatabase> {
  const shared = server === undefined && !givenUri ? sharedServer() : undefined;
  const own = server ?? (await shared?.server);
  const uri = own === undefined ? uriOnGivenServer(givenUri ?? "") : own.uri(freshName());
  const client = await new MongoClient(uri, { serverSelectionTimeoutMS: 20_000 }).connect();
  const db = client.db();
  let isDisposed = false;
  return {
    uri,
    db,
    client,
    async dispose() {
      await db.dropDatabase().catch(() => undefined);
      await client.close();
      if (shared !== undefined && !isDisposed) await giveBack(shared);
      isDisposed = true;
    },
  };
}

/** Makes a user `follower` that may find and follow, and nothing else: not even list collections. */
export async function createFollower({ client, db }: SpecDatabase): Promise<void> {
  const admin = client.db("admin");
  const resource = { db: db.databaseName, collection: "" };
  await admin.command({
    createRole: "follows",
    privileges: [{ resource, actions: ["find", "changeStream"] }],
    roles: [],
  });
  await admin.command({ createUser: "follower", pwd: "follower-password", roles: ["follows"] });
}

export async function stopSharedServers(): Promise<void> {
  await Promise.all([...sharedServers].map(async ({ server }) => (await server).dispose()));
  sharedServers.clear();
  current = undefined;
}
