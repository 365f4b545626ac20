import type { Db, Document } from "mongodb";
import type { InterfaceSettings } from "../config/settings.js";
import { type Database, isUnauthorized } from "../database.js";
import { optionsOf, pipelineOf } from "../watcher/stream.js";
import { type Finding, messageOf } from "./finding.js";

/** How long opening a change stream waits for a first event, in milliseconds: that it opens is all that matters. */
const maxAwaitTimeMS = 50;

/** What `listCollections` says of a collection. */
interface Described {
  readonly name: string;
  readonly type?: string;
  readonly options?: Document;
}

/** Whether the configured collections are there, may be read, written and followed, and keep the images that they need. */
export async function collectionFindings(
  database: Database,
  interfaces: readonly InterfaceSettings[],
): Promise<Finding[]> {
  if (interfaces.length === 0) return [];
  const { db } = database;
  const names = [...new Set(interfaces.map(({ collection }) => collection))];
  const user = await userOf(db);
  const findings = [...(await streamFindings(database, names, user))];
  const described = await describe(db, names);
  for (const collection of names) {
    const served = interfaces.filter((each) => each.collection === collection);
    findings.push(...(await privilegeFindings(db, collection, served, user)));
    if (described === undefined) continue;
    findings.push(
      ...kindFindings(
        collection,
        described.find(({ name }) => name === collection),
        served,
        database,
      ),
    );
  }
  if (described === undefined) findings.push(notListed(db, interfaces, user));
  return findings;
}

/** As mongosh shows it in a command, and undefined where the server asks for none. */
type User = { readonly user: string; readonly db: string } | undefined;

async function userOf(db: Db): Promise<User> {
  try {
    const { authInfo } = await db.command({ connectionStatus: 1 });
    return (authInfo as { authenticatedUsers?: NonNullable<User>[] } | undefined)?.authenticatedUsers?.[0];
  } catch (error) {
    // Some servers tell even this only to users.
    if (isUnauthorized(error)) return undefined;
    throw error;
  }
}

/** Opens the stream that the gateway would open, and closes it. */
async function streamFindings(database: Database, names: readonly string[], user: User): Promise<Finding[]> {
  const { db, support } = database;
  const stream = db.watch(pipelineOf(names, support), { ...optionsOf(support), maxAwaitTimeMS });
  try {
    await stream.tryNext();
    return [{ area: "collections", level: "ok", what: `the change stream over ${names.join(", ")} opens` }];
  } catch (error) {
    const isPrivilege = isUnauthorized(error);
    return [
      {
        area: "collections",
        level: "problem",
        what: isPrivilege
          ? `${nameOf(user)} may not open a change stream on the database ${db.databaseName}`
          : `the change stream can't be opened: ${messageOf(error)}`,
        consequence: "the gateway can't start",
        ...(isPrivilege && { fix: grant(user, "read", db) }),
      },
    ];
  } finally {
    await stream.close();
  }
}

/** Tried rather than read from the roles: what counts is what the server answers. Nothing is written. */
async function privilegeFindings(
  db: Db,
  collection: string,
  served: readonly InterfaceSettings[],
  user: User,
): Promise<Finding[]> {
  const target = db.collection(collection);
  const findings: Finding[] = [];
  const attempt = async (verb: string, role: string, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      const isPrivilege = isUnauthorized(error);
      findings.push({
        area: "collections",
        level: "problem",
        what: isPrivilege
          ? `${nameOf(user)} may not ${verb} ${collection}`
          : `trying to ${verb} ${collection} failed: ${messageOf(error)}`,
        consequence: `the ${plural(served, "interface")} ${listOf(served)} can't be served`,
        ...(isPrivilege && { fix: grant(user, role, db) }),
      });
      return false;
    }
  };
  await attempt("read", "read", () =>
    target
      .find({}, { projection: { _id: 1 } })
      .limit(1)
      .toArray(),
  );
  const written = served.filter(({ write }) => write !== false);
  if (written.length > 0) {
    const none = { _id: { $in: [] } };
    // Of many, for a sharded collection takes those of one only where the filter names its shard key.
    const updates = await attempt("change", "readWrite", () => target.updateMany(none, { $unset: { none: "" } }));
    if (updates) await attempt("delete from", "readWrite", () => target.deleteMany(none));
  }
  return findings;
}

/** @returns undefined where the user may not list collections */
async function describe(db: Db, names: readonly string[]): Promise<Described[] | undefined> {
  try {
    return await db.listCollections({ name: { $in: names } }).toArray();
  } catch (error) {
    if (isUnauthorized(error)) return undefined;
    throw error;
  }
}

function kindFindings(
  collection: string,
  described: Described | undefined,
  served: readonly InterfaceSettings[],
  { support }: Database,
): Finding[] {
  if (described === undefined) {
    return [
      {
        area: "collections",
        level: "warning",
        what: `${collection} does not exist yet`,
        consequence: `${listOf(served)} is empty until something is written; if the name is misspelled, for ever`,
        fix: `db.createCollection(${quote(collection)}${support.images ? ", { changeStreamPreAndPostImages: { enabled: true } }" : ""})`,
      },
    ];
  }
  const { type = "collection", options = {} } = described;
  if (type !== "collection") {
    return [
      {
        area: "collections",
        level: "problem",
        what: `${collection} is a ${type}, not a collection`,
        consequence: `MongoDB reports no changes of a ${type}: ${listOf(served)} would never move`,
        fix: `name the collection that is written to as \`collection\` of ${listOf(served)}`,
      },
    ];
  }
  if (options.changeStreamPreAndPostImages?.enabled === true) {
    return [{ area: "collections", level: "ok", what: `${collection} keeps pre- and post-images` }];
  }
  return imageFindings(collection, served, support.images);
}

/** A rule that is a filter makes every view of the interface a filtered one; elsewhere only clients' own filters do. */
function imageFindings(collection: string, served: readonly InterfaceSettings[], images: boolean): Finding[] {
  const ruled = served.filter(({ read }) => typeof read !== "boolean");
  const open = served.filter(({ read }) => read === true);
  const fix = images
    ? `db.runCommand({ collMod: ${quote(collection)}, changeStreamPreAndPostImages: { enabled: true } })`
    : "upgrade the server to MongoDB 7 or later, then enable changeStreamPreAndPostImages";
  if (ruled.length > 0) {
    return [
      {
        area: "collections",
        level: "problem",
        what: `${collection} keeps no pre-images, which the rule of ${listOf(ruled)} needs`,
        consequence:
          "without a document's state before a change, a client that comes back can't be told exactly what it missed: it starts again with a snapshot, and each view remembers every id it has shown",
        fix,
      },
    ];
  }
  if (open.length === 0) return [];
  return [
    {
      area: "collections",
      level: "note",
      what: `${collection} keeps no pre-images`,
      consequence: `${listOf(open)} needs none as such; clients that filter start again with a snapshot when they come back`,
      fix,
    },
  ];
}

function notListed(db: Db, interfaces: readonly InterfaceSettings[], user: User): Finding {
  const needsImages = interfaces.some(({ read }) => typeof read !== "boolean");
  return {
    area: "collections",
    level: needsImages ? "problem" : "warning",
    what: `${nameOf(user)} may not list the collections of ${db.databaseName}`,
    consequence:
      "whether they exist and keep pre-images can't be known; the gateway takes it that they keep none, so each view with a filter remembers every id it has shown",
    fix: grant(user, "read", db),
  };
}

function grant(user: User, role: string, db: Db): string {
  if (user === undefined) {
    return "the server asks for a user: MONGODB_URI=mongodb://USER:PASSWORD@HOST/DATABASE?authSource=admin";
  }
  const roles = `[{ role: ${quote(role)}, db: ${quote(db.databaseName)} }]`;
  return `db.getSiblingDB(${quote(user.db)}).grantRolesToUser(${quote(user.user)}, ${roles})`;
}

function nameOf(user: User): string {
  return user === undefined ? "a connection without a user" : `the user ${user.user}`;
}

function listOf(interfaces: readonly InterfaceSettings[]): string {
  return interfaces.map(({ name }) => name).join(", ");
}

function plural(items: readonly unknown[], noun: string): string {
  return items.length === 1 ? noun : `${noun}s`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
