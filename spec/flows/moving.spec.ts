import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy, type Proxy as TcpProxy } from "../support/proxy.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: string; user: string };

/** Something that is held back until it is let go. */
function gate(): { passed: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

describe("a client that moves to a gateway that lags, where there are no pre-images", () => {
  const ghost = "a-document-that-is-here-for-a-moment";
  let database: SpecDatabase;
  let proxy: TcpProxy;
  const gateways: TestGateway[] = [];
  const subscribers: Subscriber[] = [];
  const lookUp = gate();
  const end = gate();
  let asked = gate();
  const items = () => database.db.collection<Item>("items");

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items");
    await items().insertMany([
      { _id: "stays", user: "u" },
      { _id: ghost, user: "other" },
    ]);
    const target = new URL(database.uri);
    // Its look-up of the document, and the news of its end, come when they are let.
    proxy = await startProxy(
      { port: Number(target.port) },
      {
        sent(chunk) {
          if (!chunk.includes(ghost) || !chunk.includes("$in")) return undefined;
          asked.open();
          return lookUp.passed;
        },
        async answered(chunk) {
          if (chunk.includes(ghost) && chunk.includes("delete")) await end.passed;
          return chunk;
        },
      },
    );
    const behind = `mongodb://127.0.0.1:${proxy.port}${target.pathname}?directConnection=true`;
    for (const mongo of [behind, database.uri]) {
      gateways.push(await startTestGateway({ mongo, interfaces: { items: { read: true } } }));
    }
    asked = gate();
  });
  after(async () => {
    lookUp.open();
    end.open();
    for (const { client } of subscribers) await client.close();
    for (const gateway of gateways) await gateway.stop();
    await proxy.close();
    await database.dispose();
  });

  async function join(gateway: TestGateway | undefined): Promise<Subscriber> {
    const subscriber = await subscribe(gateway?.websocketUrl ?? "", { interface: "items", filter: { user: "u" } });
    subscribers.push(subscriber);
    await subscriber.ready();
    return subscriber;
  }

  it("does not keep what the one before showed it of a moment that this one did not see", async () => {
    const [slow, quick] = gateways;
    await join(slow);
    const client = await join(quick);
    await items().updateOne({ _id: ghost }, { $set: { user: "u" } });
    await client.until((rows) => rows.has(JSON.stringify(ghost)));
    await asked.passed;
    await client.client.close();
    await items().deleteOne({ _id: ghost });
    // The look-up finds nothing now, and the end has not come yet.
    lookUp.open();
    await client.reconnect(slow?.websocketUrl);
    await items().insertOne({ _id: "later", user: "u" });
    setTimeout(end.open, 500);
    await client.until((rows) => rows.has('"later"') && !rows.has(JSON.stringify(ghost)));
    expect(client.resets).to.deep.equal(["membership-unknown"]);
    expect(client.faults).to.deep.equal([]);
  });
});

describe("who comes with what was read ahead of the stream, where there are no pre-images", () => {
  const entering = "a-document-that-enters-and-leaves";
  let database: SpecDatabase;
  let proxy: TcpProxy;
  const gateways: TestGateway[] = [];
  const subscribers: Subscriber[] = [];
  const stream = gate();
  let isHeld = false;
  const items = () => database.db.collection<Item>("items");

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items");
    await items().insertOne({ _id: entering, user: "other" });
    const target = new URL(database.uri);
    // Both gateways are behind: the document's changes come when they are let.
    proxy = await startProxy(
      { port: Number(target.port) },
      {
        async answered(chunk) {
          if (isHeld && chunk.includes(entering) && chunk.includes("updateDescription")) await stream.passed;
          return chunk;
        },
      },
    );
    const mongo = `mongodb://127.0.0.1:${proxy.port}${target.pathname}?directConnection=true`;
    for (let count = 0; count < 2; count++) {
      gateways.push(await startTestGateway({ mongo, interfaces: { items: { read: true } } }));
    }
  });
  after(async () => {
    stream.open();
    for (const { client } of subscribers) await client.close();
    for (const gateway of gateways) await gateway.stop();
    await proxy.close();
    await database.dispose();
  });

  async function join(gateway: TestGateway | undefined): Promise<Subscriber> {
    const subscriber = await subscribe(gateway?.websocketUrl ?? "", { interface: "items", filter: { user: "u" } });
    subscribers.push(subscriber);
    return subscriber;
  }

  it("keeps nothing that has ended when the stream gets there", async () => {
    const [one, other] = gateways;
    for (const gateway of gateways) await (await join(gateway)).ready();
    isHeld = true;
    await items().updateOne({ _id: entering }, { $set: { user: "u" } });
    let client: Subscriber;
    // Who comes soon after others is given what those were.
    do {
      client = await join(other);
      await client.ready();
    } while (!client.rows.has(JSON.stringify(entering)));
    await client.reconnect(one?.websocketUrl);
    // It waits for the stream. Did it not, it would be ready long before that.
    await Promise.race([client.ready(), sleep(1_000)]);
    await items().updateOne({ _id: entering }, { $set: { user: "other" } });
    stream.open();
    isHeld = false;
    await items().insertOne({ _id: "later", user: "u" });
    await client.until((rows) => rows.has('"later"') && !rows.has(JSON.stringify(entering)));
    expect(client.faults).to.deep.equal([]);
  });
});
