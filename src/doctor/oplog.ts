import type { Collection, Document, Timestamp } from "mongodb";
import { type Database, isUnauthorized } from "../database.js";
import { type Finding, messageOf } from "./finding.js";

const leastHours = 1;
/** An oplog that is emptier than this still grows: how far it goes back says nothing yet about how far it will. */
const filling = 0.5;

/** How long a client, or the gateway itself, may be away and still continue where it was. */
export async function oplogFindings(database: Database): Promise<Finding[]> {
  const hello = await database.db.command({ hello: 1 });
  if (hello.setName === undefined) {
    return [
      {
        area: "oplog",
        level: "note",
        what: "the oplogs of a sharded cluster can't be read through mongos",
        fix: "ask each shard: rs.printReplicationInfo()",
      },
    ];
  }
  const oplog = database.client.db("local").collection("oplog.rs");
  try {
    return [await windowFinding(oplog)];
  } catch (error) {
    return [
      {
        area: "oplog",
        level: "note",
        what: isUnauthorized(error)
          ? "the user may not read local.oplog.rs"
          : `local.oplog.rs can't be read: ${messageOf(error)}`,
        consequence: "how long a client may be away was not looked at; the gateway itself does without",
        fix: "as an administrator: rs.printReplicationInfo()",
      },
    ];
  }
}

async function windowFinding(oplog: Collection): Promise<Finding> {
  const [first, last] = await Promise.all([end(oplog, 1), end(oplog, -1)]);
  if (first === null || last === null) return { area: "oplog", level: "note", what: "local.oplog.rs is empty" };
  const hours = (secondsOf(last.ts) - secondsOf(first.ts)) / 3_600;
  const what = `the oplog goes back ${duration(hours)}`;
  // A new set's oplog begins with this entry; while it is there, nothing has been removed.
  if (first.o?.msg === "initiating set") return { area: "oplog", level: "ok", what: `${what}, to the set's beginning` };
  if (hours >= leastHours) return { area: "oplog", level: "ok", what };
  const used = await usage(oplog);
  if (used !== undefined && used < filling) {
    return { area: "oplog", level: "ok", what: `${what} and is ${Math.round(used * 100)} % full` };
  }
  return {
    area: "oplog",
    level: "warning",
    what,
    consequence: "whoever is away for longer, client or gateway, has lost its place and starts again with a snapshot",
    fix: "db.adminCommand({ replSetResizeOplog: 1, size: Double(16384), minRetentionHours: Double(24) }), with the size in MB, on each member; at Atlas, the cluster's Minimum Oplog Window",
  };
}

function end(oplog: Collection, direction: 1 | -1): Promise<Document | null> {
  return oplog.findOne({}, { sort: { $natural: direction }, projection: { ts: 1, "o.msg": 1 } });
}

/** @returns from 0 to 1, or undefined where it can't be known */
async function usage(oplog: Collection): Promise<number | undefined> {
  try {
    const [stats] = await oplog.aggregate([{ $collStats: { storageStats: {} } }]).toArray();
    const { size = 0, maxSize = 0, count = 0, max = 0 } = (stats?.storageStats ?? {}) as Record<string, number>;
    if (maxSize === 0) return undefined;
    return Math.max(size / maxSize, max === 0 ? 0 : count / max);
  } catch {
    // Statistics take a privilege of their own; the window is known without them.
    return undefined;
  }
}

function secondsOf(timestamp: Timestamp): number {
  return timestamp.getHighBits();
}

function duration(hours: number): string {
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  if (hours >= 2) return `${hours.toFixed(1)} hours`;
  return hours * 60 >= 2 ? `${Math.round(hours * 60)} minutes` : `${Math.round(hours * 3_600)} seconds`;
}
