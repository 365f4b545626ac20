import { type Document, MongoClient } from "mongodb";
import { type Database, isUserRefused } from "../database.js";
import { redact } from "../log.js";
import { type Finding, messageOf } from "./finding.js";

/** Clocks that differ by more than this make lifetimes of tokens and tasks visibly wrong. In milliseconds. */
const clockToleranceMilliseconds = 5_000;

/** Why no connection came about. */
export async function unreachableFinding(error: unknown, uri: string): Promise<Finding> {
  const cause = (error as { cause?: unknown }).cause ?? error;
  const where = redact(uri);
  if (isUserRefused(cause)) {
    return {
      area: "database",
      level: "problem",
      what: `the database at ${where} refuses the user: ${messageOf(cause)}`,
      consequence: "the gateway can't start",
      fix: "correct user, password and authSource in MONGODB_URI; a password with @ : / ? # or % in it is percent-encoded",
    };
  }
  return {
    area: "database",
    level: "problem",
    what: `the database at ${where} can't be reached: ${messageOf(cause)}`,
    consequence: "the gateway can't start",
    fix: (await directAdvice(uri)) ?? "start it (`make replica` starts a local one), or correct MONGODB_URI",
  };
}

/** The database is there, but it has no change streams. */
export const notAReplicaSetFinding: Finding = {
  area: "database",
  level: "problem",
  what: "the database is not a replica set",
  consequence: "it has no change streams, so the gateway can't start",
  fix: "start mongod with --replSet rs0 and call rs.initiate() once in mongosh; one member is enough. Or run `make replica`",
};

/** What the server is and which of the gateway's ways it supports. */
export async function serverFindings(database: Database): Promise<Finding[]> {
  const { db, serverVersion, support } = database;
  const asked = Date.now();
  const hello = await db.command({ hello: 1 });
  const answered = Date.now();
  const build = await db.command({ buildInfo: 1 });
  const other = typeof build.secantusVersion === "string" ? ` (SecantusDB ${build.secantusVersion})` : "";
  const findings: Finding[] = [topology(hello)];
  findings.push(
    support.images && support.splitEvents
      ? { area: "database", level: "ok", what: `server ${serverVersion}${other}: images, split of large events` }
      : outdated(serverVersion, support.images),
  );
  findings.push(
    support.snapshotReads
      ? { area: "database", level: "ok", what: "snapshot reads are true to their time" }
      : {
          area: "database",
          level: "note",
          what: "snapshot reads of this server are not relied on",
          consequence:
            "while a snapshot is read, a row can show an older state for some milliseconds before it is corrected",
        },
  );
  return [...findings, ...clock(hello, asked, answered)];
}

function topology(hello: Document): Finding {
  if (hello.setName === undefined) return { area: "database", level: "ok", what: "a sharded cluster, through mongos" };
  const members = Array.isArray(hello.hosts) ? hello.hosts.length : 1;
  const what = `replica set ${hello.setName} with ${members} ${members === 1 ? "member" : "members"}`;
  if (members > 1) return { area: "database", level: "ok", what };
  return {
    area: "database",
    level: "note",
    what,
    consequence: "while that member is away, nothing can be read and no change arrives",
    fix: "for production, a set of three",
  };
}

function outdated(serverVersion: string, images: boolean): Finding {
  return {
    area: "database",
    level: "warning",
    what: `server ${serverVersion} has ${images ? "no split of large events (MongoDB 6.0.9)" : "no pre-images (MongoDB 6.0)"}`,
    consequence: images
      ? "a change of more than 16 MB with its images can't be delivered: every view is reset instead"
      : "filtered views can't be continued exactly after a disconnect, and changes over 16 MB reset every view",
    fix: "upgrade the server to MongoDB 7 or later",
  };
}

function clock(hello: Document, asked: number, answered: number): Finding[] {
  if (!(hello.localTime instanceof Date)) return [];
  const theirs = hello.localTime.getTime();
  const apart = theirs < asked ? asked - theirs : Math.max(0, theirs - answered);
  if (apart <= clockToleranceMilliseconds) return [];
  return [
    {
      area: "database",
      level: "warning",
      what: `the clocks of this machine and of the database are ${(apart / 1_000).toFixed(1)} s apart`,
      consequence: "tokens and tasks expire too early or too late",
      fix: "run a time service (chrony, systemd-timesyncd) on both",
    },
  ];
}

/**
 * Asks the first host of the URI directly, for the driver does not say why a server that answers is none of those that
 * it looks for.
 */
async function directAdvice(uri: string): Promise<string | undefined> {
  if (!uri.startsWith("mongodb://")) return undefined;
  const [, hosts = "", query = ""] = /^mongodb:\/\/(?:[^@/]*@)?([^/?]*)[^?]*(?:\?(.*))?$/s.exec(uri) ?? [];
  const wantedSet = new URLSearchParams(query).get("replicaSet");
  const tls = /(?:^|&)(?:tls|ssl)\w*=[^&]*/gi;
  const options = [...(query.match(tls) ?? []).map((each) => each.replace(/^&/, "")), "directConnection=true"];
  const client = new MongoClient(`mongodb://${hosts.split(",")[0]}/?${options.join("&")}`, {
    serverSelectionTimeoutMS: 2_000,
    connectTimeoutMS: 2_000,
  });
  try {
    const hello = await client.db("admin").command({ hello: 1 });
    if (hello.isreplicaset === true) {
      return "call rs.initiate() once in mongosh: the server waits to become a member of its replica set";
    }
    if (hello.setName === undefined && hello.msg !== "isdbgrid") return notAReplicaSetFinding.fix;
    if (wantedSet !== null && hello.setName !== wantedSet) {
      return `the server's replica set is ${hello.setName}: say replicaSet=${hello.setName} in MONGODB_URI, or leave it out`;
    }
    return "the server answers, but the set has no primary that this machine can reach: look at rs.status(), and at whether the members' names in rs.conf() resolve here";
  } catch {
    // It does not answer directly either, so what the driver said is all there is.
    return undefined;
  } finally {
    await client.close();
  }
}
