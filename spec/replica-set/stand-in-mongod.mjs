#!/usr/bin/env node
/**
 * A stand-in for mongod where there is none: as much of its command line, log and wire protocol as starting a replica
 * set needs. It becomes primary when it is told to initiate a set, keeps that over restarts, takes inserts, and shows
 * them on a change stream. It proves how `make replica` treats its nodes, and nothing about MongoDB.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { BSON, Long, Timestamp } from "mongodb";

const option = (name) => process.argv[process.argv.indexOf(name) + 1];

if (process.argv.includes("--version")) {
  console.log("db version v8.0.99");
  process.exit(0);
}
const configFile = join(option("--dbpath"), "config.json");
let inserts = 0;
let seen = 0;

/** @param {Record<string, unknown>} command */
function answer(command) {
  const name = Object.keys(command)[0];
  if (/^(hello|isMaster|ismaster)$/.test(name)) return hello();
  if (name === "replSetInitiate") writeFileSync(configFile, JSON.stringify(command.replSetInitiate));
  if (name === "buildInfo") return { ok: 1, version: "8.0.99", modules: [] };
  if (name === "insert") inserts += 1;
  const operationTime = new Timestamp({ t: 1, i: inserts + 1 });
  if (name === "aggregate") return { ok: 1, operationTime, cursor: { id: new Long(7n), ns: "a.b", firstBatch: [] } };
  if (name === "find") return { ok: 1, cursor: { id: Long.ZERO, ns: "a.b", firstBatch: [] } };
  if (name === "getMore") {
    const fresh = inserts > seen ? [{ _id: { at: inserts }, operationType: "insert" }] : [];
    seen = inserts;
    return { ok: 1, cursor: { id: new Long(7n), ns: "a.b", nextBatch: fresh, postBatchResumeToken: { at: inserts } } };
  }
  return { ok: 1, n: 1, operationTime };
}

function hello() {
  const limits = { ok: 1, minWireVersion: 0, maxWireVersion: 25, maxBsonObjectSize: 16777216 };
  const sizes = { maxMessageSizeBytes: 48000000, maxWriteBatchSize: 100000, localTime: new Date(), helloOk: true };
  if (!existsSync(configFile)) return { ...limits, ...sizes, isreplicaset: true };
  const { _id, members } = JSON.parse(readFileSync(configFile, "utf8"));
  const hosts = members.map(({ host }) => host);
  const set = { setName: _id, setVersion: 1, hosts, me: hosts[0], primary: hosts[0] };
  return { ...limits, ...sizes, ...set, isWritablePrimary: true, ismaster: true, logicalSessionTimeoutMinutes: 30 };
}

/**
 * @param {Buffer} message - OP_QUERY, which drivers use for their first hello, or OP_MSG
 * @returns {Buffer}
 */
function reply(message) {
  const legacy = message.readInt32LE(12) === 2004;
  const start = legacy ? message.indexOf(0, 20) + 9 : 21;
  const length = message.readInt32LE(start);
  const body = BSON.serialize(answer(BSON.deserialize(message.subarray(start, start + length))));
  const head = Buffer.alloc(legacy ? 36 : 21);
  head.writeInt32LE(head.length + body.length, 0);
  head.writeInt32LE(message.readInt32LE(4), 8);
  head.writeInt32LE(legacy ? 1 : 2013, 12);
  if (legacy) head.writeInt32LE(1, 32);
  return Buffer.concat([head, body]);
}

const server = createServer((socket) => {
  let rest = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= rest.readInt32LE(0)) {
      const size = rest.readInt32LE(0);
      socket.write(reply(rest.subarray(0, size)));
      rest = rest.subarray(size);
    }
  });
  socket.on("error", () => socket.destroy());
});
server.listen(Number(option("--port")), "127.0.0.1", () => {
  const entry = { t: { $date: new Date().toISOString() }, s: "I", c: "NETWORK", id: 23016, ctx: "listener" };
  console.log(JSON.stringify({ ...entry, msg: "Waiting for connections", attr: { port: Number(option("--port")) } }));
});
