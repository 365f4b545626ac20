import { once } from "node:events";
import { connect } from "node:net";
import { deflateRawSync } from "node:zlib";
import { expect } from "chai";
import { problemOf } from "../api/support.js";
import { connectClient, type TestClient } from "../support/client.js";
import { eventually, metricOf } from "../support/eventually.js";
import { runCommand, startTestGateway, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { clientFrame, framesOf, rawUpgrade, readAll } from "../support/raw-websocket.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

type Item = { _id: number; text: string };

const limits = { payloadKilobytes: 4_096, messagesPerMinute: 1_000_000, bufferedMegabytes: 8 };
const subscribeTo = (id: unknown, filter: unknown): string =>
  JSON.stringify({ type: "subscribe", id, interface: "items", snapshot: false, filter });

/** The gateway is a process of its own: what holds up its event loop is its own doing, and what ends it is seen. */
describe("a gateway among hostile clients", () => {
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;
  let gateway: TestCommand;
  let port: number;
  let url: string;
  let neighbour: TestClient;
  let next = 1_000;
  /** Requests that never end; each resolves when the gateway has had enough of it. */
  let trickling: Promise<unknown>[];

  const items = () => database.db.collection<Item>("items");
  const live = (): Promise<TestClient> => connectClient(`ws://127.0.0.1:${port}/ws`, { protocols: ["tailgate.v1"] });
  /** The longest that the gateway's event loop was held up since this was last asked, in milliseconds. */
  const longestDelay = async (): Promise<number> => 1_000 * (await metricOf(url, "nodejs_eventloop_lag_max_seconds "));

  function trickle(line: string): Promise<unknown> {
    const socket = connect(port, "127.0.0.1");
    socket.write(`${line}\r\nHost: x\r\nX-Slow: `);
    const timer = setInterval(() => socket.write("x"), 500);
    socket.on("error", () => {
      // It may be cut.
    });
    return new Promise((resolve) => socket.once("close", resolve)).finally(() => clearInterval(timer));
  }

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({
        interfaces: { items: { read: true, fields: ["text"] } },
        auth: { anonymous: true },
        limits,
      }),
    });
    gateway = runCommand(["serve", "--config", `${files.folder}/tailgate.config.json`], {
      MONGODB_URI: database.uri,
      PORT: "0",
      LOG_LEVEL: "debug",
    });
    ({ port } = JSON.parse(await gateway.line(/"gateway started"/)) as { port: number });
    url = `http://127.0.0.1:${port}`;
    neighbour = await connectClient(`ws://127.0.0.1:${port}/ws`);
    trickling = Array.from({ length: 200 }, (_, n) => trickle(`GET ${n % 2 === 0 ? "/api/items" : "/ws"} HTTP/1.1`));
  });
  /** Whatever was done to it, it is the same process, serves others as before, and its log is JSON, a line an entry. */
  afterEach(async () => {
    const _id = next++;
    await items().insertOne({ _id, text: "told" });
    await neighbour.until(({ data }) => (data as { id?: unknown }).id === _id);
    expect(gateway.child.exitCode).to.equal(null);
    for (const line of gateway.errors().trim().split("\n")) {
      expect(JSON.parse(line)).to.include.keys("level", "time", "msg");
      expect(["error", "fatal"], line).not.to.include(JSON.parse(line).level);
    }
  });
  after(async () => {
    await neighbour.close();
    // One that is held up heeds no other signal.
    gateway.kill("SIGKILL");
    await gateway.exit;
    await database.dispose();
    await files.dispose();
  });

  it("matches patterns that make others backtrack without holding anybody up (hazard 30)", async () => {
    const client = await live();
    const evil = ["(a+)+$", "(a|aa)+$", "(a|a?)+b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y", "(.*a){9}$", "(a*)*c"];
    for (const [id, pattern] of evil.entries()) client.socket.send(subscribeTo(id, { text: { $regex: pattern } }));
    const answers = (await client.take(evil.length + 1)).slice(1);
    expect(answers.map(({ type }) => type)).to.deep.equal(evil.map(() => "ready"));
    const delays: number[] = [];
    for (let round = 0; round < 5; round++) {
      await longestDelay();
      const texts = [`${"a".repeat(30_000)}!`, `${"x".repeat(30_000)}`, "aB".repeat(10_000), "a".repeat(200)];
      const inserted = texts.map((text) => ({ _id: next++, text }));
      await items().insertMany(inserted);
      await neighbour.until(({ data }) => (data as { id?: unknown }).id === inserted.at(-1)?._id);
      delays.push(await longestDelay());
    }
    // A pattern that holds up the loop does so each time, a busy machine now and then.
    expect(Math.min(...delays), `milliseconds: ${delays}`).to.be.lessThan(1_000);
    await client.close();
  }).timeout(60_000);

  it("runs no code of a filter, whoever sends it (hazard 30)", async () => {
    const client = await live();
    await client.next();
    const code = "while (true) {}";
    for (const filter of [
      { $where: code },
      { $expr: { $function: { body: code, args: [], lang: "js" } } },
      { text: { $where: code } },
      { $and: [{ $or: [{ $expr: { $eq: [1, 1] } }] }] },
      { text: { $accumulator: {} } },
      { $jsonSchema: {} },
    ]) {
      client.socket.send(subscribeTo(1, filter));
      expect(await client.next()).to.include({ type: "error", status: 400, code: "operator-not-supported" });
      const response = await fetch(`${url}/api/items/query`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ filter }),
      });
      expect(await problemOf(response)).to.include({ status: 400, code: "operator-not-supported" });
    }
    await client.close();
  });

  it("refuses filters that are deep or wide before they cost anything (hazard 31)", async () => {
    const levels = 20_000;
    const many = Array.from({ length: 100_000 }, (_, n) => n);
    const hostile: [text: string, code: string][] = [
      [`${'{"$and":['.repeat(levels)}{}${"]}".repeat(levels)}`, "filter-too-deep"],
      [`${'{"text":{"$not":'.repeat(levels)}1${"}}".repeat(levels)}`, "filter-too-deep"],
      [`{"text":${"[".repeat(levels)}${"]".repeat(levels)}}`, "filter-too-deep"],
      [JSON.stringify({ text: { $in: many } }), "filter-too-large"],
      [JSON.stringify({ $or: many.map((n) => ({ text: n })) }), "filter-too-large"],
      [JSON.stringify(Object.fromEntries(many.map((n) => [`text.${n}`, n]))), "filter-too-large"],
    ];
    const client = await live();
    await client.next();
    for (const [filter, code] of hostile) {
      const delays: number[] = [];
      for (let round = 0; round < 3; round++) {
        await longestDelay();
        client.socket.send(`{"type":"subscribe","id":1,"interface":"items","filter":${filter}}`);
        expect(await client.next(), filter.slice(0, 40)).to.include({ type: "error", status: 400, code });
        delays.push(await longestDelay());
        const response = await fetch(`${url}/api/items/query`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: `{"filter":${filter}}`,
        });
        expect((await problemOf(response)).status).to.equal(400);
      }
      // Reading a message of a megabyte takes its time, whatever it says.
      expect(Math.min(...delays), `milliseconds: ${delays}`).to.be.lessThan(1_000);
    }
    await client.close();
  }).timeout(60_000);

  it("answers 10,000 subscribes on one connection with its limit, and forgets them with it (hazard 36)", async () => {
    const client = await live();
    await client.next();
    const count = 10_000;
    for (let id = 0; id < count; id++) client.socket.send(subscribeTo(id, { text: `${id % 7}` }));
    const answers = await client.take(count, 30_000);
    const refused = answers.filter(({ type }) => type === "error");
    expect(answers.filter(({ type }) => type === "ready")).to.have.length(128);
    expect(refused).to.have.length(count - 128);
    expect(new Set(refused.map(({ code }) => code))).to.deep.equal(new Set(["too-many-subscriptions"]));
    expect(await metricOf(url, "tailgate_subscriptions ")).to.equal(128);
    client.socket.terminate();
    await eventually(async () => (await metricOf(url, "tailgate_subscriptions ")) === 0);
  }).timeout(60_000);

  it("closes a frame that is no text, compressed without leave or too long, and reads on with the others (hazard 36)", async () => {
    const offers = ["Sec-WebSocket-Protocol: tailgate.v1", "Sec-WebSocket-Extensions: permessage-deflate"];
    const bomb = deflateRawSync(Buffer.alloc(50_000_000));
    const hostile: [name: string, frame: Buffer][] = [
      ["text that is no UTF-8", clientFrame(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))],
      ["a compression bomb", clientFrame(bomb, { isCompressed: true })],
      ["an opcode that nobody knows", clientFrame(Buffer.from("x"), { opcode: 7 })],
      ["a ping of 200 bytes", clientFrame(Buffer.alloc(200), { opcode: 9 })],
      ["a close with a code of one byte", clientFrame(Buffer.alloc(1), { opcode: 8 })],
      ["JSON cut short", clientFrame(Buffer.from('{"type":"subscribe","id":'))],
      ["a frame that announces 2^60 bytes", Buffer.from("81ff100000000000000000000000", "hex")],
    ];
    for (const [name, frame] of hostile) {
      const socket = await rawUpgrade(port, offers);
      socket.on("error", () => {
        // It may be cut.
      });
      const began = performance.now();
      socket.write(frame);
      const frames = framesOf(await readAll(socket));
      // Closed by the gateway, and at once: nothing is waited for.
      expect(performance.now() - began, name).to.be.lessThan(5_000);
      expect(
        frames.every(({ opcode }) => opcode === 1 || opcode === 8),
        name,
      ).to.equal(true);
    }
  }).timeout(60_000);

  it("answers or closes whatever is sent as a message, and never fails (hazard 36)", async () => {
    let seed = 20_260;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    const message = subscribeTo("x", { $or: [{ text: { $in: ["a", null] } }, { id: { $gt: 1 } }] });
    const inserts = ['"', "{", "}", "[", "null", "1e999", "-", "\\u0000", "\\ud800", "$", '"__proto__":1,', "é", " "];
    const codes = new Set<number>();
    let client = await live();
    for (let round = 0; round < 1_000; round++) {
      let text = message;
      for (let changes = 1 + random(3); changes > 0; changes--) {
        const at = random(text.length);
        text = text.slice(0, at) + (inserts[random(inserts.length)] ?? "") + text.slice(at + random(4));
      }
      client.socket.send(text);
      client.socket.send('{"type":"unsubscribe","id":"x"}');
      client.socket.send('{"type":"ping"}');
      const outcome = await Promise.race([client.until(({ type }) => type === "pong"), client.closed]).catch(
        () => client.closed,
      );
      const { code } = outcome as { code?: number };
      if (code === undefined) continue;
      codes.add(code);
      client = await live();
    }
    expect([...codes]).to.deep.equal([4400]);
    await client.close();
  }).timeout(60_000);

  it("tells nothing of the Host or the line ends that a handshake brings (hazard 39)", async () => {
    const answers: string[] = [];
    for (const [target, headers] of [
      ["/ws?interfaces=a%0d%0aSet-Cookie:%20a=1", []],
      ["/ws?%0d%0aSet-Cookie:%20a=1", []],
      ["/ws", ["Sec-WebSocket-Protocol: x%0d%0aSet-Cookie: a=1"]],
      ["/ws", ["X-Forwarded-For: 10.9.8.7", "Tailgate-Peer: 10.9.8.7", "Origin: http://evil.test"]],
    ] as const) {
      const socket = connect(port, "127.0.0.1");
      const lines = [`GET ${target} HTTP/1.1`, "Host: evil.test", "Upgrade: websocket", "Connection: Upgrade"];
      const key = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"];
      socket.write([...lines, ...key, ...headers, "", ""].join("\r\n"));
      // All but the last are refused: that one names the host of its page, which is all that it could be.
      const [chunk] = (await once(socket, "data")) as [Buffer];
      answers.push(chunk.toString("latin1"));
      socket.destroy();
    }
    for (const answer of answers) expect(answer.split("\r\n\r\n")[0]).not.to.match(/^set-cookie|evil\.test/im);
    expect(gateway.errors()).not.to.contain("10.9.8.7");
  });

  // All that goes before happens meanwhile, too.
  it("cuts who sends the head of a request byte by byte, and serves the others meanwhile (hazard 40)", async () => {
    for (let request = 0; request < 20; request++) {
      expect((await fetch(`${url}/api/items?limit=1`)).status).to.equal(200);
    }
    await Promise.all(trickling);
  }).timeout(60_000);
});

describe("Object.prototype", () => {
  it("is as it was, whatever clients send (hazard 37)", async () => {
    const database = await freshDatabase();
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true, write: true } },
    });
    const before = Object.getOwnPropertyNames(Object.prototype);
    const client = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    await client.next();
    const pollution = '{"polluted":1,"isAdmin":true}';
    const messages = [
      `{"type":"subscribe","id":1,"interface":"items","__proto__":${pollution}}`,
      `{"type":"subscribe","id":1,"interface":"items","filter":{"__proto__":${pollution}}}`,
      `{"type":"subscribe","id":1,"interface":"items","filter":{"constructor.prototype.polluted":1}}`,
      `{"type":"subscribe","id":1,"interface":"items","filter":{"a":{"$in":[{"__proto__":${pollution}}]}}}`,
      '{"type":"subscribe","id":1,"interface":"items","fields":["__proto__.polluted"]}',
      '{"type":"subscribe","id":1,"interface":"__proto__"}',
      '{"type":"subscribe","id":1,"interface":"constructor"}',
      '{"type":"unsubscribe","id":"__proto__"}',
    ];
    for (const message of messages) {
      client.socket.send(message);
      expect(await client.next(), message).to.include({ type: "error" });
    }
    // As data it is a key like any other.
    await database.db.collection("items").insertOne(JSON.parse(`{"_id":1,"__proto__":${pollution}}`));
    client.socket.send('{"type":"subscribe","id":"__proto__","interface":"items"}');
    const [snapshot] = await client.until(({ type }) => type === "snapshot");
    expect(JSON.stringify(snapshot?.data)).to.equal(`[{"id":1,"__proto__":${pollution}}]`);
    for (const [method, path, body] of [
      ["POST", "items", `{"id":2,"__proto__":${pollution}}`],
      ["PATCH", "items/1", `{"__proto__":${pollution}}`],
      ["PATCH", "items/1", `{"constructor":{"prototype":${pollution}}}`],
    ] as const) {
      const headers = { "content-type": method === "PATCH" ? "application/merge-patch+json" : "application/json" };
      const response = await fetch(`${gateway.url}/api/${path}`, { method, headers, body });
      expect((await problemOf(response)).status, body).to.equal(400);
    }
    expect(Object.getOwnPropertyNames(Object.prototype)).to.deep.equal(before);
    expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
    await client.close();
    await gateway.stop();
    await database.dispose();
  });
});
