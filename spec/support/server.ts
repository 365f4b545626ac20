import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Db, MongoClient } from "mongodb";
import { type SecantusServer, startSecantus } from "../../replica-set/secantus.mjs";

/** A database server of a spec's own, to be killed, stalled or rolled. */
export interface OwnServer extends SecantusServer {
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

/** What specs start their servers with: fail points on, and nothing acknowledged is lost when they are killed. */
const flags = ["--enable-test-commands", "--noop-heartbeat-seconds", "2"];

export async function startOwnServer(more: readonly string[] = []): Promise<OwnServer> {
  const folder = await mkdtemp(join(tmpdir(), "tailgate-spec-"));
  const server = await startSecantus({ storagePath: join(folder, "data"), flags: [...flags, ...more] });
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

let shared: Promise<OwnServer> | undefined;
let databases = 0;

/** Whether specs run against a server that was given to them: it has to be left as it was, and can't be killed. */
export const givenUri = process.env.MONGODB_URI;

/** @returns a URI on the server that all specs share, with a database of the caller's own in its path. */
export async function freshUri(): Promise<string> {
  const name = `spec_${process.pid}_${++databases}`;
  if (givenUri) {
    const uri = new URL(givenUri);
    uri.pathname = `/${name}`;
    return uri.href;
  }
  shared ??= startOwnServer();
  return (await shared).uri(name);
}

/** A fresh database, on the shared server or on the one given. */
export async function freshDatabase(server?: OwnServer): Promise<SpecDatabase> {
  const uri = server === undefined ? await freshUri() : server.uri(`spec_${process.pid}_${++databases}`);
  const client = await new MongoClient(uri, { serverSelectionTimeoutMS: 20_000 }).connect();
  const db = client.db();
  return {
    uri,
    db,
    client,
    async dispose() {
      await db.dropDatabase().catch(() => undefined);
      await client.close();
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

export async function stopSharedServer(): Promise<void> {
  const server = await shared;
  shared = undefined;
  await server?.dispose();
}
