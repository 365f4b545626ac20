import { once } from "node:events";
import { connect } from "node:net";
import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { eventually, metricOf } from "../support/eventually.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy } from "../support/proxy.js";
import { framesOf, rawUpgrade, readAll } from "../support/raw-websocket.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

describe("the sockets", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true }, others: { read: true }, closed: { read: false } },
      limits: { payloadKilobytes: 4, messagesPerMinute: 50, bufferedMegabytes: 1, idleSeconds: 8 },
    });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  const code = async (client: TestClient): Promise<number> => (await client.closed).code;
  const metric = (series: string): Promise<number> => metricOf(gateway.url, series);
  const insertItem = (n: number) => database.db.collection<{ _id: number }>("items").insertOne({ _id: n });

  describe("refuse with a close code, so that a browser can see why", () => {
    const rows: [name: string, query: string, options: Parameters<typeof connectClient>[1], code: number][] = [
      ["an interface that is not there", "?interfaces=items,nope", {}, 4400],
      ["an interface that may not be read, in the same words", "?interfaces=closed", {}, 4400],
      ["an unknown parameter", "?interface=items", {}, 4400],
      ["a subprotocol that is not known", "", { protocols: ["graphql-ws"] }, 4406],
      ["a page of another origin", "", { headers: { origin: "https://evil.example" } }, 4403],
      ["a page without an origin of its own", "", { headers: { origin: "null" } }, 4403],
      ["a token that nothing can verify", "", { headers: { authorization: "Bearer x.y.z" } }, 4401],
      ["a cookie with such a token", "", { headers: { cookie: "a=b; tailgate_token=x" } }, 4401],
    ];
    for (const [name, query, options, expected] of rows) {
      it(`${name}: ${expected}`, async () => {
        expect(await code(await connectClient(`${gateway.websocketUrl}${query}`, options))).to.equal(expected);
      });
    }

    it("a connection without a token where anonymous ones are not allowed: 4401, and 401 on the API", async () => {
      const strict = await startTestGateway({
        mongo: database.uri,
        interfaces: { items: { read: true } },
        auth: { anonymous: false, closeCode: 4401 },
      });
      expect(await code(await connectClient(strict.websocketUrl))).to.equal(4401);
      expect((await fetch(`${strict.url}/api/items`)).status).to.equal(401);
      await strict.stop();
    });

    it("nothing of a page of the same host", async () => {
      const client = await connectClient(gateway.websocketUrl, { headers: { origin: gateway.url } });
      expect(client.socket.readyState).to.equal(1);
      await client.close();
    });
  });

  describe("bound what a client may do (hazard 36)", () => {
    it("ignore what a plain connection sends", async () => {
      const client = await connectClient(gateway.websocketUrl);
      for (const text of ["{", '{"type":"subscribe"}', "\u0000"]) client.socket.send(text);
      client.socket.send(Buffer.alloc(100));
      await insertItem(1);
      expect(await client.next()).to.deep.include({ data: { id: 1 } });
      await client.close();
    });

    it("close a message over the limit with 4413", async () => {
      const client = await connectClient(gateway.websocketUrl);
      client.socket.send("x".repeat(5_000));
      expect(await code(client)).to.equal(4413);
    });

    it("cut a message far over the limit", async () => {
      const client = await connectClient(gateway.websocketUrl);
      client.socket.send("x".repeat(5_000_000));
      expect(await code(client)).to.equal(1006);
    });

    it("close a flood with 4429", async () => {
      const client = await connectClient(gateway.websocketUrl);
      for (let n = 0; n < 51; n++) client.socket.send("x");
      expect(await code(client)).to.equal(4429);
    });

    it("survive bytes that are no websocket frames, and other connections notice nothing", async () => {
      const neighbour = await connectClient(gateway.websocketUrl);
      let seed = 7;
      const random = (): number => {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        return seed / 2_147_483_648;
      };
      for (let round = 0; round < 200; round++) {
        const socket = await rawUpgrade(gateway.gateway.port);
        socket.end(Buffer.from(Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256))));
        socket.on("error", () => {
          // The gateway may reset a connection that sends nonsense.
        });
      }
      await insertItem(2);
      expect(await neighbour.next()).to.deep.include({ data: { id: 2 } });
      await neighbour.close();
    });
  });

  it("close a peer that answers no ping (hazard 26)", async () => {
    const proxy = await startProxy({ port: gateway.gateway.port });
    const client = await connectClient(`ws://127.0.0.1:${proxy.port}/ws`, { headers: { host: "x" } });
    await eventually(async () => (await metric("tailgate_connections{")) === 1);
    proxy.blackhole();
    await eventually(async () => (await metric("tailgate_connections{")) === 0, 30_000);
    client.socket.terminate();
    await proxy.close();
  }).timeout(60_000);

  it("close a slow reader with 4508 after what was sent to it, and leave the others alone (hazards 24, 25)", async () => {
    const neighbour = await connectClient(gateway.websocketUrl);
    const slow = await rawUpgrade(gateway.gateway.port);
    slow.pause();
    const text = "x".repeat(20_000);
    const count = 900;
    const others = database.db.collection<{ _id: number; text: string }>("others");
    for (let n = 0; n < count; n += 100) {
      await others.insertMany(Array.from({ length: 100 }, (_, k) => ({ _id: n + k, text })));
    }
    await neighbour.take(count, 30_000);
    await eventually(async () => (await metric('tailgate_connections_closed_total{code="4508"}')) === 1);
    expect(await metric("tailgate_connections{")).to.equal(1);
    // Now it reads: a whole prefix of the messages, then the close frame with its code.
    const frames = framesOf(await readAll(slow));
    const messages = frames.filter((frame) => frame.opcode === 1).map((frame) => JSON.parse(String(frame.payload)));
    expect(messages.length).to.be.lessThan(count);
    expect(messages.map((message) => message.data.id)).to.deep.equal(messages.map((_, n) => n));
    expect(frames.at(-1)?.opcode).to.equal(8);
    expect(frames.at(-1)?.payload.readUInt16BE(0)).to.equal(4508);
    await insertItem(3);
    expect(await neighbour.next()).to.deep.include({ data: { id: 3 } });
    await neighbour.close();
  }).timeout(90_000);

  it("forget every connection that closes, however it closes (hazard 28)", async () => {
    const rounds = Number(process.env.TAILGATE_CHURN ?? 2_000);
    const subscribe = (n: number) => ({
      type: "subscribe",
      id: n,
      interface: "items",
      filter: { _id: { $lt: n % 50 } },
    });
    let done = 0;
    const worker = async (): Promise<void> => {
      while (done < rounds) {
        const n = done++;
        if (n % 3 === 0) {
          (await rawUpgrade(gateway.gateway.port)).resetAndDestroy();
        } else {
          const client = await (n % 4 === 1
            ? connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] })
            : connectClient(`${gateway.websocketUrl}${n % 2 === 0 ? "?interfaces=items" : ""}`));
          if (n % 4 === 1) client.socket.send(JSON.stringify(subscribe(n)));
          // Some of those that subscribe wait for their rows, others go before they have come.
          if (n % 8 === 1) await client.until(({ type }) => type === "ready");
          if (n % 5 === 0) client.socket.terminate();
          else await client.close();
        }
      }
    };
    await Promise.all(Array.from({ length: 20 }, worker));
    await eventually(async () => (await metric("tailgate_connections{")) === 0);
    await eventually(async () => (await metric("tailgate_views ")) === 0);
    expect(await metric("tailgate_subscriptions ")).to.equal(0);
    // Views are kept for ten seconds for who comes back.
    await eventually(async () => (await metric("tailgate_shown_ids ")) === 0, 20_000);
    await insertItem(4);
    const client = await connectClient(gateway.websocketUrl);
    await insertItem(5);
    await client.until(({ data }) => (data as { id?: number }).id === 5);
    await client.close();
  }).timeout(120_000);

  it("let a crowd in one after another, while those who are connected are served (hazard 27)", async () => {
    const neighbour = await connectClient(gateway.websocketUrl);
    // Its connection is kept, so that what it asks next does not wait behind the crowd.
    await metric("tailgate_connections_waiting");
    const crowd = Array.from({ length: 1_500 }, () => connectClient(`${gateway.websocketUrl}?interfaces=items`));
    await eventually(async () => (await metric("tailgate_connections_waiting")) > 0);
    await insertItem(600);
    expect(await neighbour.next()).to.deep.include({ data: { id: 600 } });
    const clients = await Promise.all(crowd);
    expect(await metric("tailgate_connections_waiting")).to.equal(0);
    await insertItem(601);
    for (const client of clients) await client.until(({ data }) => (data as { id?: number }).id === 601);
    await Promise.all([neighbour, ...clients].map((client) => client.close()));
  }).timeout(120_000);

  it("tell those who still wait for their turn that the gateway is stopping", async () => {
    const second = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
    const crowd = Array.from({ length: 600 }, () => connectClient(second.websocketUrl));
    await crowd[0];
    const stopping = second.stop();
    for (const client of await Promise.all(crowd)) expect((await client.closed).code).to.be.oneOf([1001, 1006]);
    const codes = await Promise.all((await Promise.all(crowd)).map(async (client) => (await client.closed).code));
    expect(codes.filter((code) => code === 1001).length).to.be.greaterThan(50);
    await stopping;
  });

  it("end every connection with 1001 when the gateway stops, and take no new one (hazard 29)", async () => {
    const second = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
    const clients = await Promise.all(Array.from({ length: 100 }, () => connectClient(second.websocketUrl)));
    let writing = true;
    const writer = (async () => {
      for (let n = 1_000; writing; n++) await insertItem(n);
    })();
    await clients[0]?.next();
    const stopped = second.stop();
    expect(second.stop()).to.equal(stopped);
    await stopped;
    expect(new Set(await Promise.all(clients.map(code)))).to.deep.equal(new Set([1001]));
    const late = connect(second.gateway.port, "127.0.0.1");
    const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
    expect(error.code).to.equal("ECONNREFUSED");
    writing = false;
    await writer;
  }).timeout(60_000);
});
