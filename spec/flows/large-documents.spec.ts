import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

type Item = { _id: number; n: number; text?: string };

/** Over what may wait for a connection, and over what the buffers of its socket take. */
const text = "x".repeat(12_000_000);
/** Longer than the gateway lets a buffer go unlooked at. */
const stalledMilliseconds = 1_500;

describe("a document that is larger than what may wait for a connection", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway;
  let witness: TestClient;
  const items = () => database.db.collection<Item>("items");

  before(async () => {
    server = await startOwnServer();
    database = await freshDatabase(server);
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true }, ticks: { read: true } },
    });
    witness = await connectClient(`${gateway.websocketUrl}?interfaces=ticks`);
  });
  after(async () => {
    await witness.close();
    await gateway.stop();
    await database.client.close();
    await server.dispose();
  });

  /** Reads nothing for a while, while others are sent messages. */
  async function stall(client: TestClient, meanwhile?: () => Promise<unknown>): Promise<void> {
    client.socket.pause();
    await meanwhile?.();
    for (const until = performance.now() + stalledMilliseconds; performance.now() < until; await sleep(50)) {
      await database.db.collection("ticks").insertOne({});
    }
    client.socket.resume();
  }

  it("comes to a reader that takes its time, in a snapshot and in what was missed", async () => {
    const open = () => connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    const isReady = ({ type }: Record<string, unknown>): boolean => type === "ready";
    await items().insertOne({ _id: 1, n: 0, text });
    let client = await open();
    client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items" }));
    await stall(client);
    const { position: since, view } = (await client.until(isReady)).at(-1) as Record<string, unknown>;
    await client.close();
    await items().updateOne({ _id: 1 }, { $set: { n: 1 } });
    await items().updateOne({ _id: 1 }, { $set: { n: 2 } });
    // Both are to be missed: two that come while it reads nothing would be too much.
    const { insertedId } = await database.db.collection("ticks").insertOne({});
    await witness.until(({ data }) => (data as { id?: unknown }).id === insertedId.toHexString());
    client = await open();
    client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items", since, view }));
    await stall(client);
    await client.until(({ data }) => (data as Item | undefined)?.n === 2);
    expect(client.received.find(isReady)).to.deep.include({ position: since, recovered: true });
    expect(client.received.filter(({ operation }) => operation !== undefined)).to.have.lengthOf.at.least(2);
    await client.close();
  });

  it("comes as a change to readers that take their time, in both modes", async () => {
    const plain = await connectClient(`${gateway.websocketUrl}?interfaces=items`);
    const live = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    live.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items", snapshot: false }));
    await live.until(({ type }) => type === "ready");
    const inserting = () => items().insertOne({ _id: 2, n: 0, text });
    await Promise.all([stall(plain), stall(live, inserting)]);
    await items().insertOne({ _id: 3, n: 0 });
    // A reader that is too slow is sent what was there before its end, so the large one alone would prove nothing.
    for (const client of [plain, live]) {
      await client.until(({ data }) => (data as { id?: number } | undefined)?.id === 3);
      await client.close();
    }
  });
});
