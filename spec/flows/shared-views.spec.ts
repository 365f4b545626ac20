import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { signed } from "../auth/issuer.js";
import { connectClient, type TestClient } from "../support/client.js";
import { eventually, metricOf } from "../support/eventually.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; n: number; text: string };
type Message = Record<string, unknown>;

/** More than the buffers of a connection take, on both sides. */
const missedMegabytes = 20;
const text = "x".repeat(100_000);
const secret = "a-secret-of-at-least-32-characters";

/** Where each subscription of one connection stands, as the protocol says, what it took, and what it would take for a gap. */
function standings(messages: readonly Message[]): {
  places: Map<unknown, string>;
  gaps: Message[];
  taken: { id: unknown; data: unknown }[];
} {
  const places = new Map<unknown, string>();
  const gaps: Message[] = [];
  const taken: { id: unknown; data: unknown }[] = [];
  for (const message of messages) {
    const { type, id, position, previous } = message as Record<string, string>;
    if (type === "ready") places.set(id, position as string);
    if (type === "reset" || type === "unsubscribed") places.delete(id);
    if (type === "pong" || type === "progress") {
      for (const [each, place] of places) if ((position as string) > place) places.set(each, position as string);
    }
    if (type !== undefined) continue;
    for (const [each, place] of places) {
      if ((position as string) <= place) continue;
      if ((previous as string) > place) gaps.push({ id: each, place, ...message });
      places.set(each, position as string);
      taken.push({ id: each, data: message.data });
    }
  }
  return { places, gaps, taken };
}

describe("a view that several subscriptions share", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway;
  const items = () => database.db.collection<Item>("items");

  before(async () => {
    server = await startOwnServer();
  });
  // Dropping so much takes it longer than being killed.
  after(() => server.dispose());
  beforeEach(async () => {
    database = await freshDatabase(server);
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    await items().insertOne({ _id: 1, n: 0, text: "" });
    gateway = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
  });
  afterEach(async () => {
    await gateway.stop();
    await database.client.close();
  });

  async function join(): Promise<Subscriber> {
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items" });
    await subscriber.ready();
    return subscriber;
  }

  /** Inserts so much that a replay of it waits for a reader that does not read. */
  async function insertMuch(): Promise<void> {
    for (let _id = 100; _id < 100 + missedMegabytes * 10; _id++) await items().insertOne({ _id, n: 0, text });
  }

  it("goes on for the others when one is cut off in the middle of what it missed", async () => {
    const [stays, goes] = [await join(), await join()];
    const { position: since, view } = goes;
    await goes.close();
    await insertMuch();
    await stays.until((rows) => rows.size === 1 + missedMegabytes * 10);
    const back = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    back.socket.on("message", (data) => {
      if ((JSON.parse(String(data)) as Message).type === "ready") back.socket.pause();
    });
    back.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items", since, view }));
    await back.until(({ type }) => type === "ready");
    back.socket.terminate();
    await eventually(async () => (await metricOf(gateway.url, "tailgate_connections{")) === 1);
    await items().updateOne({ _id: 1 }, { $set: { n: 1 } });
    await stays.until((rows) => rows.get("1")?.n === 1);
    expect([stays.resets, stays.faults]).to.deep.equal([[], []]);
    await stays.close();
  });

  it("is joined by a slow reader while it changes, once and for all", async () => {
    await insertMuch();
    await gateway.stop();
    // Enough that its reader, which sleeps most of the time, is never too slow, however the machine is loaded.
    const limits = { bufferedMegabytes: 4 };
    gateway = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } }, limits });
    const client = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items" }));
    let isWriting = true;
    const writing = (async () => {
      for (let n = 1; isWriting; n++) {
        await items().updateOne({ _id: 100 + (n % 200) }, { $set: { n } });
        await sleep(20);
      }
    })();
    // Of what it reads a part leaves at a time; behind the rows, the changes have to wait for it, too.
    for (let turns = 0; !client.received.some(({ type }) => type === "ready") || turns < 20; turns++) {
      client.socket.pause();
      await sleep(50);
      client.socket.resume();
      await sleep(10);
    }
    isWriting = false;
    await writing;
    await items().updateOne({ _id: 1 }, { $set: { n: -1 } });
    await client.until(({ data }) => (data as { n?: number } | undefined)?.n === -1);
    expect(client.received.filter(({ type }) => type === "reset")).to.deep.equal([]);
    expect(standings(client.received).gaps).to.deep.equal([]);
    await client.close();
  });

  it("begins anew for the others although a rule of the application fails for one", async () => {
    let isBroken = false;
    const ruled = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        items: {
          read(user) {
            if (isBroken && user?.sub === "b") throw new Error("a rule that fails");
            return true;
          },
        },
      },
      auth: { jwt: { secret } },
    });
    const clients = await Promise.all(
      ["a", "b", "c"].map(async (sub) => {
        const headers = { authorization: `Bearer ${await signed(secret, { sub })}` };
        const client = await connectClient(ruled.websocketUrl, { protocols: ["tailgate.v1"], headers });
        client.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items" }));
        await client.until(({ type }) => type === "ready");
        return client;
      }),
    );
    isBroken = true;
    await items().drop();
    for (const [index, client] of clients.entries()) {
      const told = (await client.until(({ type }) => type === "ready" || type === "error")).map(({ type }) => type);
      expect(told).to.deep.equal(index === 1 ? ["error"] : ["reset", "snapshot", "ready"]);
      await client.close();
    }
    await ruled.stop();
  });

  describe("on one connection", () => {
    let client: TestClient;
    const isReady = (wanted: unknown) => (message: Message) => message.type === "ready" && message.id === wanted;
    const send = (message: object): void => client.socket.send(JSON.stringify(message));
    const open = async (): Promise<void> => {
      client = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    };
    const subscription = (id: string, more: object = {}) => ({ type: "subscribe", id, interface: "items", ...more });
    const isShown =
      (_id: number, n: number) =>
      ({ data }: Message): boolean => {
        const shown = data as { id?: number; n?: number } | undefined;
        return shown?.id === _id && shown.n === n;
      };

    beforeEach(open);
    afterEach(() => client.close());

    it("leaves no gap to the first when a second goes on from a later place", async () => {
      const wanted = { filter: { text: { $in: ["", "a"] } }, fields: ["n"] };
      send(subscription("first", { ...wanted, snapshot: false }));
      const { view } = (await client.until(isReady("first"))).at(-1) as Message;
      const witness = await join();
      // The stream goes on, without a change of the view.
      await items().insertOne({ _id: 2, n: -1, text: "b" });
      await witness.until((rows) => rows.has("2"));
      const since = witness.position;
      // Nothing shows of this one, but who was away is told, for it may have moved the document in an index.
      await items().updateOne({ _id: 1 }, { $set: { text: "a" } });
      await witness.until((rows) => rows.get("1")?.text === "a");
      send(subscription("second", { ...wanted, since, view }));
      await client.until(isReady("second"));
      await items().updateOne({ _id: 1 }, { $set: { n: 1 } });
      await client.until(isShown(1, 1));
      const { gaps, places } = standings(client.received);
      expect(gaps).to.deep.equal([]);
      expect(new Set(places.values()).size).to.equal(1);
      expect(client.received.filter(({ type }) => type === "reset")).to.deep.equal([]);
      await witness.close();
    });

    for (const what of ["goes on", "is ended"]) {
      it(`is told everything that the first needs when a second ${what} that has missed much`, async () => {
        send(subscription("first"));
        const { position: since, view } = (await client.until(isReady("first"))).at(-1) as Message;
        await insertMuch();
        await client.until(isShown(99 + missedMegabytes * 10, 0));
        client.socket.on("message", (data) => {
          if (isReady("second")(JSON.parse(String(data)) as Message)) client.socket.pause();
        });
        send(subscription("second", { since, view }));
        await client.until(isReady("second"));
        // The replay waits for its reader; what comes now comes behind it.
        const witness = await join();
        await items().updateOne({ _id: 1 }, { $set: { n: 1 } });
        await witness.until((rows) => rows.get("1")?.n === 1);
        if (what === "is ended") send({ type: "unsubscribe", id: "second" });
        // Asked for in the middle of it, how far all is complete: no further than the first has been told.
        send({ type: "ping" });
        client.socket.resume();
        await client.until(isShown(1, 1));
        await items().updateOne({ _id: 1 }, { $set: { n: 2 } });
        await client.until(isShown(1, 2));
        const { gaps, places, taken } = standings(client.received);
        expect(gaps).to.deep.equal([]);
        expect(taken.some(({ id, data }) => id === "first" && isShown(1, 1)({ data }))).to.equal(true);
        expect(client.received.filter(({ type }) => type === "pong")).to.have.lengthOf(1);
        expect([...places.keys()]).to.deep.equal(what === "is ended" ? ["first"] : ["first", "second"]);
        expect(client.received.filter(({ type }) => type === "reset")).to.deep.equal([]);
        await witness.close();
      });
    }

    it("replays to two one after the other, from wherever each was", async () => {
      await client.close();
      const { position: early, view } = await join();
      await items().updateOne({ _id: 1 }, { $set: { n: 1 } });
      const later = await join();
      const { position: late } = later;
      await insertMuch();
      await later.until((rows) => rows.size === 1 + missedMegabytes * 10);
      await open();
      client.socket.on("message", (data) => {
        if (isReady("first")(JSON.parse(String(data)) as Message)) client.socket.pause();
      });
      send(subscription("first", { since: early, view }));
      send(subscription("second", { since: late, view }));
      await client.until(isReady("first"));
      client.socket.resume();
      await client.until(isReady("second"));
      await items().updateOne({ _id: 1 }, { $set: { n: 2 } });
      await client.until(isShown(1, 2));
      const { gaps, places } = standings(client.received);
      expect(gaps).to.deep.equal([]);
      expect([...places.keys()]).to.deep.equal(["first", "second"]);
    });
  });
});
