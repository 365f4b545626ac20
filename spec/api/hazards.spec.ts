import { once } from "node:events";
import { connect } from "node:net";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import fc from "fast-check";
import type { CommandStartedEvent, Document } from "mongodb";
import { z } from "zod";
import { createReads, defaultReadLimits } from "../../src/api/reads.js";
import { RequestError } from "../../src/errors.js";
import { defineTask } from "../../src/tasks/define.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { problemOf, refusalOf } from "./support.js";

const secret = "canary-5150";

describe("the API (hazards 38, 39 and 40)", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway;
  let url: string;

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
    database = await freshDatabase(server);
    await database.db.collection("jobs").insertMany([
      { state: "a", secret },
      { state: "b", secret },
    ]);
    await database.db.collection("private").insertOne({ state: secret });
    await database.db.collection<Document>("written").insertMany([{ state: 1 }, { state: 2 }]);
    gateway = await startTestGateway({
      mongo: `${database.uri}&monitorCommands=true`,
      interfaces: { jobs: { read: true, fields: ["state"] }, private: {}, written: { read: true, write: true } },
    });
    url = gateway.url;
  });
  after(async () => {
    await gateway?.stop();
    await database?.dispose();
    await server?.dispose();
  });
  afterEach(() => failCommand(database.client, "off", undefined));

  describe("38: operators and names in paths and query strings", () => {
    const nasty = fc.constantFrom(
      ...["$where", "$ne", "$gt", "$expr", "$function", "__proto__", "constructor", "prototype", "polluted", "state"],
      ...["..", "../private", "%2e%2e", "system.users", "admin.system", "private", "jobs", "jobs.$cmd", "\0", "$cmd"],
      ...[
        "[$ne]",
        "[__proto__][polluted]",
        "filter",
        "sort",
        "fields",
        "limit",
        "cursor",
        "query",
        "tasks",
        "\u2028",
        "é",
      ],
      ...['{"$where":"1"}', '{"__proto__":{"polluted":1}}', '{"state":{"$ne":null}}', "secret", "-secret", "1", "null"],
    );
    const path = fc.array(nasty, { minLength: 1, maxLength: 4 });
    const query = fc.array(
      fc.tuple(fc.oneof(nasty, fc.constantFrom("filter[$ne]", "filter[__proto__][polluted]")), nasty),
      {
        maxLength: 3,
      },
    );

    it("reach nothing but what is configured, and change no prototype", async () => {
      const property = fc.asyncProperty(path, query, fc.boolean(), async (segments, pairs, isEncoded) => {
        const encode = isEncoded ? encodeURIComponent : (text: string) => encodeURI(text).replaceAll("?", "%3f");
        const target = `/api/${segments.map(encode).join("/")}?${new URLSearchParams(pairs.map(([a, b]) => [a, b]))}`;
        const { status, text } = await raw("GET", target);
        expect([200, 400, 404], `${target} ${status} ${text}`).to.include(status);
        expect(text, target).not.to.include(secret);
        expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
      });
      await fc.assert(property, { numRuns: 300 });
    });

    it("are refused in bodies, down to keys that reach a prototype", async () => {
      const bodies = [
        '{"__proto__":{"polluted":1}}',
        '{"filter":{"__proto__":{"polluted":1}}}',
        '{"filter":{"state":{"__proto__":{"polluted":1}}}}',
        '{"filter":{"constructor":{"prototype":{"polluted":1}}}}',
        '{"filter":{"constructor.prototype.polluted":1}}',
        '{"filter":{"$where":"1"}}',
        '{"filter":{"state":{"$function":{}}}}',
        '{"filter":{"$expr":{"$eq":["$secret",1]}}}',
        '{"sort":"$natural"}',
        '{"sort":"__proto__"}',
        '{"fields":["__proto__"]}',
        '{"constructor":1}',
      ];
      for (const body of bodies) {
        const headers = { "content-type": "application/json" };
        const response = await fetch(`${url}/api/jobs/query`, { method: "POST", headers, body });
        expect((await problemOf(response)).status, body).to.equal(400);
        expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
      }
    });
  });

  describe("39: headers", () => {
    it("of an answer hold nothing that a client wrote between line ends", async () => {
      for (const target of [
        "/api/jobs%0d%0aSet-Cookie:%20a=1",
        "/api/jobs?sort=%0d%0aSet-Cookie:%20a=1",
        "/api/jobs?cursor=%0d%0aSet-Cookie:%20a=1",
        "/api/jobs/%0d%0aSet-Cookie:%20a=1",
      ]) {
        const { head } = await raw("GET", target, ["Origin: https://x.test%0d%0aSet-Cookie: a=1"]);
        expect(head, target).not.to.match(/^set-cookie/im);
      }
    });

    it("that say where a request came from change nothing", async () => {
      const hostile = [
        "X-Forwarded-Host: evil.test",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: host=evil.test;proto=https",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /api/private",
      ];
      const plain = await raw("GET", "/api/jobs");
      const spoofed = await raw("GET", "/api/jobs", hostile, "evil.test");
      expect(spoofed.status).to.equal(200);
      expect(spoofed.head + spoofed.text).not.to.include("evil.test");
      expect((JSON.parse(spoofed.text) as Document).data).to.deep.equal((JSON.parse(plain.text) as Document).data);
    });

    it("and paths come into the log as JSON strings, a line for each entry", async () => {
      await failCommand(database.client, { times: 1 }, { failCommands: ["find"], errorCode: 8000 });
      const response = await fetch(`${url}/api/jobs/${encodeURIComponent('x\r\n{"level":"fatal"}')}`);
      const problem = await problemOf(response);
      expect([problem.status, problem.code, problem.detail]).to.deep.equal([500, "internal", undefined]);
      const entry = gateway.logged.find((each) => each.msg === "request failed");
      expect(entry?.path).to.include("%0D%0A");
      expect(gateway.logged.some((each) => each.level === "fatal")).to.equal(false);
    });
  });

  describe("40: slow, large and expensive requests", () => {
    it("end when the database's time is over", async () => {
      await failCommand(database.client, { times: 1 }, { failCommands: ["find"], errorCode: 50 });
      expect(await refusalOf(await fetch(`${url}/api/jobs?sort=-state`))).to.equal("504 query-too-slow");
    });

    it("are told when a sort needs an index", async () => {
      await failCommand(database.client, { times: 1 }, { failCommands: ["find"], errorCode: 292 });
      expect(await refusalOf(await fetch(`${url}/api/jobs?sort=-state`))).to.equal("400 sort-too-large");
    });

    it("give every read its time limit, majority and no disk", async () => {
      const reads = createReads(database.db);
      await reads.run(new AbortController().signal, async (options) => {
        const { maxTimeMS, ...rest } = options();
        expect(rest).to.deep.include({ readConcern: { level: "majority" }, allowDiskUse: false, bsonRegExp: true });
        expect(maxTimeMS).to.be.within(9_000, 10_000);
      });
    });

    it("with a body over the limit get 413, also when it is sent compressed or in chunks", async () => {
      const post = (body: BodyInit, headers: Record<string, string> = {}) =>
        fetch(`${url}/api/jobs/query`, {
          method: "POST",
          body,
          headers: { "content-type": "application/json", ...headers },
          duplex: "half",
        } as RequestInit);
      const large = JSON.stringify({ filter: { state: "x".repeat(20_000) } });
      expect(await refusalOf(await post(large))).to.equal("413 body-too-large");
      const bomb = gzipSync(Buffer.from(`{"sort":"${" ".repeat(5_000_000)}"}`));
      expect(bomb.length).to.be.lessThan(16_384);
      expect(await refusalOf(await post(bomb, { "content-encoding": "gzip" }))).to.equal("413 body-too-large");
      const chunks = new ReadableStream({
        start(controller) {
          controller.enqueue(Buffer.from(large));
          controller.close();
        },
      });
      expect(await refusalOf(await post(chunks))).to.equal("413 body-too-large");
      expect((await post(gzipSync('{"limit":1}'), { "content-encoding": "gzip" })).status).to.equal(200);
    });

    it("with a body over the limit are refused whatever their method, before anything is done", async () => {
      const [, victim] = await database.db.collection("written").find().sort({ _id: 1 }).toArray();
      const path = `/api/written/${String(victim?._id)}`;
      const large = "x".repeat(20_000);
      for (const method of ["GET", "DELETE", "PATCH", "OPTIONS"]) {
        for (const framing of [`Content-Length: ${large.length}`, "Transfer-Encoding: chunked"]) {
          const body = framing.startsWith("C") ? large : `4e20\r\n${large}\r\n0\r\n\r\n`;
          const headers = [framing, "Content-Type: application/json"];
          const { status, text } = await raw(method, path, headers, "127.0.0.1", body);
          expect([status, JSON.parse(text).code], `${method} ${framing}`).to.deep.equal([413, "body-too-large"]);
        }
      }
      expect(await database.db.collection("written").countDocuments({ _id: victim?._id })).to.equal(1);
      const chunk = "Transfer-Encoding: chunked";
      expect((await raw("GET", path, [chunk], "127.0.0.1", "1\r\nx\r\n0\r\n\r\n")).status).to.equal(200);
    });

    it("with a URL or a header that is too long get 431, and are told of the other way", async () => {
      const long = "x".repeat(17_000);
      for (const method of ["GET", "POST"]) {
        for (const [path, headers] of [
          [`/api/jobs?filter=${long}`, {}],
          ["/api/jobs", { "x-long": long }],
        ] as const) {
          const body = method === "POST" ? "x".repeat(100_000) : null;
          const problem = await problemOf(await fetch(url + path, { method, headers, body }));
          expect(problem).to.include({ status: 431, code: "head-too-large", limitBytes: 16_384 });
          expect(problem.detail).to.include("POST /api/{interface}/query");
        }
      }
      expect((await fetch(`${url}/api/jobs`, { method: "HEAD", headers: { "x-long": long } })).status).to.equal(431);
      expect((await fetch(`${url}/api/jobs`)).status).to.equal(200);
    });

    it("with a body that is deep or no JSON get 400", async () => {
      const deep = `{"filter":{"state":${"[".repeat(5_000)}${"]".repeat(5_000)}}}`;
      for (const body of [deep, "{", "[]", "[1]", '"text"', "nul", "\u0000", '{"limit":1}x']) {
        const headers = { "content-type": "application/json" };
        const response = await fetch(`${url}/api/jobs/query`, { method: "POST", headers, body });
        expect((await problemOf(response)).code, body.slice(0, 20)).to.equal("bad-json");
      }
    });

    it("with a body in another encoding than UTF-8 get 415", async () => {
      const post = (charset: string): Promise<Response> => {
        const headers = { "content-type": `application/json; charset=${charset}` };
        return fetch(`${url}/api/jobs/query`, { method: "POST", headers, body: "{}" });
      };
      for (const charset of ["latin1", "iso-8859-1", "utf-16", "utf-7"]) {
        expect(await refusalOf(await post(charset)), charset).to.equal("415 unsupported-media-type");
      }
      for (const charset of ["utf-8", "UTF-8", '"utf-8"', "us-ascii"]) {
        expect((await post(charset)).status, charset).to.equal(200);
      }
    });

    it("is told of a connection that broke under a read, whatever the driver makes of it", async () => {
      const reads = createReads(database.db);
      const broken = Object.assign(new Error("write EPIPE"), { code: "EPIPE", syscall: "write" });
      const answer = await reads
        .run(new AbortController().signal, () => Promise.reject(broken))
        .catch((error) => error);
      expect(answer).to.include({ status: 503, code: "database-unavailable" });
    });

    it("read a few at a time; others wait, and more are told to come again", async () => {
      const reads = createReads(database.db, { ...defaultReadLimits, atOnce: 2, waiting: 1 });
      const never = new AbortController();
      const ends: (() => void)[] = [];
      const busy = (signal = never.signal) =>
        reads.run(signal, () => new Promise<string>((resolve) => ends.push(() => resolve("done"))));
      const first = busy();
      const second = busy();
      const waiting = new AbortController();
      const third = busy(waiting.signal);
      const fourth = await busy().catch((error: unknown) => error as RequestError);
      expect(fourth).to.be.instanceOf(RequestError);
      expect((fourth as RequestError).code).to.equal("too-busy");
      waiting.abort();
      expect((await third.catch((error: unknown) => error as RequestError)) as RequestError).to.have.property(
        "code",
        "client-gone",
      );
      const fifth = busy();
      ends[0]?.();
      expect(await first).to.equal("done");
      await new Promise((resolve) => setImmediate(resolve));
      expect(ends.length, "the one that waited has its turn").to.equal(3);
      ends[1]?.();
      ends[2]?.();
      expect(await Promise.all([second, fifth])).to.deep.equal(["done", "done"]);
    });

    it("are refused while too much of other answers waits to be taken", async () => {
      const reads = createReads(database.db, { ...defaultReadLimits, unsentBytes: 100 });
      const release = reads.holdUnsent(101);
      const signal = new AbortController().signal;
      const refused = await reads.run(signal, async () => "read").catch((error: unknown) => error as RequestError);
      expect(refused).to.have.property("code", "too-busy");
      release();
      release();
      expect(await reads.run(signal, async () => "read")).to.equal("read");
    });

    it("stop working when their client goes", async () => {
      const pool = gateway.gateway.db.client;
      await failCommand(database.client, { times: 1 }, {
        failCommands: ["find"],
        blockConnection: true,
        blockTimeMS: 15_000,
      } as Parameters<typeof failCommand>[2]);
      const sent = new Promise<void>((resolve) => {
        const look = ({ command }: CommandStartedEvent): void => {
          if (command.find !== "jobs") return;
          pool.off("commandStarted", look);
          resolve();
        };
        pool.on("commandStarted", look);
      });
      const client = new AbortController();
      const request = fetch(`${url}/api/jobs`, { signal: client.signal }).catch((error: unknown) => error);
      await sent;
      const closed = once(pool, "connectionClosed");
      client.abort();
      const began = performance.now();
      await Promise.all([request, closed]);
      expect(performance.now() - began).to.be.lessThan(5_000);
      expect((await fetch(`${url}/api/jobs`)).status).to.equal(200);
    });

    it("are measured by the pattern of their route", async () => {
      await fetch(`${url}/api/jobs/${"x".repeat(20)}`);
      await fetch(`${url}/api/${"y".repeat(20)}/1/2/3`);
      const text = await (await fetch(`${url}/metrics`)).text();
      expect(text).to.match(
        /tailgate_api_request_seconds_count\{route="\/api\/:interface\/:id",method="GET",status="404"/,
      );
      expect(text).to.match(/tailgate_api_request_seconds_count\{route="none"/);
      expect(text).not.to.match(/xxxxx|yyyyy/);
    });
  });

  /** A request as it is written, which `fetch` would tidy up. */
  async function raw(
    method: string,
    target: string,
    headers: readonly string[] = [],
    host = "127.0.0.1",
    body = "",
  ): Promise<{ status: number; head: string; text: string }> {
    const socket = connect(gateway.gateway.port, "127.0.0.1");
    const lines = [`${method} ${target} HTTP/1.1`, `Host: ${host}`, "Connection: close", ...headers, "", ""];
    socket.write(lines.join("\r\n") + body);
    let text = "";
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      const length = /^content-length: (\d+)/im.exec(text)?.[1];
      const end = text.indexOf("\r\n\r\n");
      if (end !== -1 && length !== undefined && text.length >= end + 4 + Number(length)) socket.end();
    });
    await once(socket, "close");
    const end = text.indexOf("\r\n\r\n");
    return { status: Number(text.slice(9, 12)), head: text.slice(0, end), text: text.slice(end + 4) };
  }
});

describe("the API of a gateway whose database is away", () => {
  it("says so at once, instead of looking for it at each request", async function () {
    if (givenUri) this.skip();
    const server = await startOwnServer();
    const nothing = defineTask({ name: "nothing", input: z.undefined(), where: "main", allow: () => true, run() {} });
    const gateway = await startTestGateway({
      mongo: server.uri("away"),
      interfaces: { jobs: { read: true } },
      tasks: [nothing],
    });
    try {
      const url = `${gateway.url}/api/jobs`;
      expect((await fetch(url)).status).to.equal(200);
      await server.kill("SIGKILL");
      expect((await fetch(url)).status).to.equal(503);
      const began = performance.now();
      const response = await fetch(url);
      expect(response.headers.get("retry-after")).to.equal("1");
      expect(await refusalOf(response)).to.equal("503 database-unavailable");
      const headers = { "content-type": "application/json" };
      for (const [path, init] of [
        ["/api/tasks", { method: "POST", headers, body: '{"name":"nothing"}' }],
        ["/api/tasks/652f1b2c3d4e5f6071829304", {}],
        ["/api/tasks/652f1b2c3d4e5f6071829304", { method: "DELETE" }],
      ] as const) {
        const answer = await fetch(gateway.url + path, init);
        expect(answer.headers.get("retry-after"), path).to.equal("1");
        expect(await refusalOf(answer), path).to.equal("503 database-unavailable");
      }
      // To look for a server takes five seconds for each.
      expect(performance.now() - began).to.be.lessThan(4_000);
    } finally {
      await gateway.stop();
      await server.dispose();
    }
  });
});
