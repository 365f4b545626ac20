import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy, type Proxy as TcpProxy } from "../support/proxy.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: string; user: string };

/** Something that is held back until it is let go. */
interface Gate {
  readonly passed: Promise<void>;
  open(): void;
}

function gate(): Gate {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open: () => open() };
}

/** The document that is told of, and by whose id what is about it is known on its way. */
const subject = "the-document-that-comes-and-goes";
const key = JSON.stringify(subject);

describe("a client that moves between gateways that lag, where there are no pre-images", () => {
  let database: SpecDatabase;
  let proxy: TcpProxy;
  const gateways: TestGateway[] = [];
  const subscribers: Subscriber[] = [];
  const gates: Gate[] = [];
  const held = (): Gate => {
    const made = gate();
    gates.push(made);
    return made;
  };
  const items = () => database.db.collection<Item>("items");

  beforeEach(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items");
    await items().insertMany([
      { _id: "stays", user: "u" },
      { _id: subject, user: "other" },
    ]);
  });
  afterEach(async () => {
    for (const { open } of gates.splice(0)) open();
    for (const { client } of subscribers.splice(0)) await client.close();
    for (const gateway of gateways.splice(0)) await gateway.stop();
    await proxy.close();
    await database.dispose();
  });

  /** @param tap - what holds back what */
  async function startBehind(tap: Parameters<typeof startProxy>[1]): Promise<string> {
    const { port, pathname } = new URL(database.uri);
    proxy = await startProxy({ port: Number(port) }, tap);
    return `mongodb://127.0.0.1:${proxy.port}${pathname}?directConnection=true`;
  }

  async function start(mongo: string): Promise<TestGateway> {
    const gateway = await startTestGateway({ mongo, interfaces: { items: { read: true } } });
    gateways.push(gateway);
    return gateway;
  }

  async function join(gateway: TestGateway): Promise<Subscriber> {
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items", filter: { user: "u" } });
    subscribers.push(subscriber);
    await subscriber.ready();
    return subscriber;
  }

  it("does not keep what the one before showed it of a moment that this one did not see", async () => {
    const [asked, lookUp, end] = [held(), held(), held()];
    const behind = await startBehind({
      sent(chunk) {
        if (!chunk.includes(subject) || !chunk.includes("$in")) return undefined;
        asked.open();
        return lookUp.passed;
      },
      async answered(chunk) {
        if (chunk.includes(subject) && chunk.includes("delete")) await end.passed;
        return chunk;
      },
    });
    const [slow, quick] = [await start(behind), await start(database.uri)];
    await join(slow);
    const client = await join(quick);
    await items().updateOne({ _id: subject }, { $set: { user: "u" } });
    await client.until((rows) => rows.has(key));
    await asked.passed;
    await client.client.close();
    await items().deleteOne({ _id: subject });
    // The look-up finds nothing now, and the end has not come yet.
    lookUp.open();
    await client.reconnect(slow.websocketUrl);
    await items().insertOne({ _id: "later", user: "u" });
    setTimeout(end.open, 500);
    await client.until((rows) => rows.has('"later"') && !rows.has(key));
    expect(client.resets).to.deep.equal(["membership-unknown"]);
    expect(client.faults).to.deep.equal([]);
  });

  it("keeps nothing that was read ahead of the stream, and has ended when that gets there", async () => {
    const stream = held();
    let isHeld = false;
    const behind = await startBehind({
      async answered(chunk) {
        if (isHeld && chunk.includes(subject) && chunk.includes("updateDescription")) await stream.passed;
        return chunk;
      },
    });
    const [one, other] = [await start(behind), await start(behind)];
    for (const gateway of [one, other]) await join(gateway);
    isHeld = true;
    await items().updateOne({ _id: subject }, { $set: { user: "u" } });
    let client: Subscriber;
    // Who comes soon after others is given what those were.
    do client = await join(other);
    while (!client.rows.has(key));
    await client.reconnect(one.websocketUrl);
    // It waits for the stream. Did it not, it would be ready long before that.
    await Promise.race([client.ready(), sleep(1_000)]);
    await items().updateOne({ _id: subject }, { $set: { user: "other" } });
    isHeld = false;
    stream.open();
    await items().insertOne({ _id: "later", user: "u" });
    await client.until((rows) => rows.has('"later"') && !rows.has(key));
    expect(client.faults).to.deep.equal([]);
  });
});
