import { expect } from "chai";
import { eventually } from "../support/eventually.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; group: string; n: number; text?: string };

/** The history in memory has room for a handful of changes, so that the rest has to come from the oplog. */
const history = { events: 10, megabytes: 1 };

describe("a client that was away for longer than the gateway remembers", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  const subscribers: Subscriber[] = [];
  const items = () => database.db.collection<Item>("items");
  const other = () => database.db.collection<Item>("other");

  async function start(limits: object = {}, images = true): Promise<void> {
    for (const name of ["items", "other"]) {
      await database.db.createCollection(name, { changeStreamPreAndPostImages: { enabled: images } });
    }
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true, fields: ["group", "n"] }, other: { read: true } },
      history: { ...history, ...limits },
    });
  }
  async function join(filter?: object, name = "items"): Promise<Subscriber> {
    const options = filter === undefined ? { interface: name } : { interface: name, filter };
    const subscriber = await subscribe(gateway.websocketUrl, options);
    subscribers.push(subscriber);
    await subscriber.ready();
    return subscriber;
  }
  /** Changes of every kind, more than the history holds, and one last that is waited for. */
  async function changeMuch(last = 1_000): Promise<void> {
    for (let n = 1; n <= 40; n++) {
      await items().insertOne({ _id: n, group: n % 2 === 0 ? "a" : "b", n });
      if (n % 4 === 0) await items().updateOne({ _id: n }, { $set: { group: "b" } });
      if (n % 5 === 0) await items().deleteOne({ _id: n });
    }
    await items().insertOne({ _id: last, group: "a", n: last });
  }
  const rowsOf = (subscriber: Subscriber) => [...subscriber.rows.values()].sort((a, b) => Number(a.id) - Number(b.id));
  const stored = async (filter: object = {}) =>
    (await items().find(filter).sort({ _id: 1 }).toArray()).map(({ _id, group, n }) => ({ id: _id, group, n }));

  beforeEach(async () => {
    database = await freshDatabase();
  });
  afterEach(async () => {
    for (const subscriber of subscribers.splice(0)) await subscriber.close();
    await gateway.stop();
    await database.dispose();
  });

  it("gets all that it missed from the oplog, in order, none twice, without a reset", async () => {
    await start();
    await items().insertOne({ _id: 0, group: "a", n: 0 });
    const [all, some] = [await join(), await join({ group: "a" })];
    await all.client.close();
    await some.client.close();
    await changeMuch();
    await all.reconnect();
    await some.reconnect();
    for (const each of [all, some]) {
      await each.until((rows) => rows.has("1000"));
      expect([each.recoveries, each.resets, each.faults]).to.deep.equal([1, [], []]);
    }
    expect(rowsOf(all)).to.deep.equal(await stored());
    expect(rowsOf(some)).to.deep.equal(await stored({ group: "a" }));
    const operations = all.client.received.filter(({ operation }) => operation !== undefined);
    expect(operations.length).to.equal(59);
    expect(gateway.logged.some(({ msg }) => msg === "past changes read")).to.equal(true);
    // And it is live again, with its chain whole.
    await items().updateOne({ _id: 1 }, { $set: { n: 77 } });
    await all.until((rows) => rows.get("1")?.n === 77);
    expect(all.faults).to.deep.equal([]);
  });

  it("shares one stream with all who were away, wherever each of them stood", async () => {
    await start();
    const early = await join();
    await early.client.close();
    await items().insertOne({ _id: 500, group: "a", n: 1 });
    const late = await join();
    await late.client.close();
    const filtered = await join({ n: { $gt: 20 } });
    await filtered.client.close();
    await changeMuch();
    await Promise.all([early.reconnect(), late.reconnect(), filtered.reconnect()]);
    for (const each of [early, late, filtered]) {
      await each.until((rows) => rows.has("1000"));
      expect([each.recoveries, each.resets, each.faults]).to.deep.equal([1, [], []]);
    }
    expect(rowsOf(early)).to.deep.equal(await stored());
    expect(rowsOf(late)).to.deep.equal(await stored());
    expect(rowsOf(filtered)).to.deep.equal(await stored({ n: { $gt: 20 } }));
    expect(gateway.logged.filter(({ msg }) => msg === "past changes read").length).to.be.at.most(2);
  });

  it("begins anew where it missed more than history.replayLimit, which costs nobody else", async () => {
    await start({ replayLimit: 60 });
    const long = await join();
    await long.client.close();
    const witness = await join(undefined, "other");
    for (let n = 0; n < 50; n++) await other().insertOne({ _id: n, group: "x", n });
    await witness.until((rows) => rows.size === 50);
    const short = await join();
    await short.client.close();
    await changeMuch();
    await Promise.all([long.reconnect(), short.reconnect()]);
    for (const each of [long, short]) await each.until((rows) => rows.has("1000"));
    expect([long.recoveries, long.resets]).to.deep.equal([0, ["too-far-behind"]]);
    expect([short.recoveries, short.resets]).to.deep.equal([1, []]);
    expect(rowsOf(long)).to.deep.equal(await stored());
    expect(rowsOf(short)).to.deep.equal(await stored());
  });

  it("gets what it missed also where the database was dropped before it came", async () => {
    await start();
    const first = await join();
    await items().insertOne({ _id: 0, group: "a", n: 0 });
    await first.until((rows) => rows.has("0"));
    await database.db.dropDatabase();
    await eventually(() => first.resets.length > 0);
    await items().insertOne({ _id: 500, group: "a", n: 0 });
    await first.until((rows) => rows.has("500"));
    const since = await join();
    await since.client.close();
    await changeMuch();
    await first.until((rows) => rows.has("1000"));
    await since.reconnect();
    await since.until((rows) => rows.has("1000"));
    expect([since.recoveries, since.resets, since.faults]).to.deep.equal([1, [], []]);
    expect(rowsOf(since)).to.deep.equal(await stored());
  });

  it("begins anew at once where history.replayLimit is 0", async () => {
    await start({ replayLimit: 0 });
    const subscriber = await join();
    await subscriber.client.close();
    await changeMuch();
    await subscriber.reconnect();
    await subscriber.until((rows) => rows.has("1000"));
    expect([subscriber.recoveries, subscriber.resets]).to.deep.equal([0, ["too-far-behind"]]);
    expect(rowsOf(subscriber)).to.deep.equal(await stored());
  });

  it("is told nothing of what a filter hides, and begins anew where without images that can't be known", async () => {
    await start({}, false);
    const all = await join();
    const some = await join({ group: "a" });
    await all.client.close();
    await some.client.close();
    await changeMuch();
    await all.reconnect();
    await some.reconnect();
    for (const each of [all, some]) await each.until((rows) => rows.has("1000"));
    expect([all.recoveries, all.resets]).to.deep.equal([1, []]);
    expect([some.recoveries, some.resets]).to.deep.equal([0, ["membership-unknown"]]);
    expect(rowsOf(all)).to.deep.equal(await stored());
    expect(rowsOf(some)).to.deep.equal(await stored({ group: "a" }));
  });

  it("misses nothing while others write on, all the time", async () => {
    await start();
    const subscriber = await join();
    await subscriber.client.close();
    await changeMuch();
    let isWriting = true;
    const writing = (async () => {
      for (let n = 2_000; isWriting; n++) await items().insertOne({ _id: n, group: "a", n });
    })();
    await subscriber.reconnect();
    await subscriber.until((rows) => rows.has("2100"));
    isWriting = false;
    await writing;
    await items().insertOne({ _id: 9_999, group: "a", n: 0 });
    await subscriber.until((rows) => rows.has("9999"));
    expect([subscriber.recoveries, subscriber.resets, subscriber.faults]).to.deep.equal([1, [], []]);
    expect(rowsOf(subscriber)).to.deep.equal(await stored());
  });
});

describe("a client that was away for longer than the oplog", () => {
  let server: OwnServer;
  afterEach(() => server.dispose());

  it("begins anew also at a gateway that was started since, whose oplog is shorter than what it reads again", async () => {
    server = await startOwnServer(["--oplog-max-entries", "300", "--oplog-retention-seconds", "1"]);
    const database = await freshDatabase(server);
    const items = database.db.collection<Item>("items");
    const options = { mongo: database.uri, interfaces: { items: { read: true } } } as const;
    const first = await startTestGateway(options);
    await items.insertOne({ _id: 1, group: "a", n: 1 });
    const gone = await subscribe(first.websocketUrl, { interface: "items" });
    await gone.ready();
    await gone.client.close();
    await first.stop();
    for (let n = 0; n < 10; n++) {
      await items.insertMany(Array.from({ length: 200 }, (_, index) => ({ _id: 2 + n * 200 + index, group: "x", n })));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    const second = await startTestGateway(options);
    await gone.reconnect(second.websocketUrl);
    await gone.ready();
    expect([gone.recoveries, gone.resets, gone.faults]).to.deep.equal([0, ["too-far-behind"], []]);
    expect(gone.rows.size).to.equal(2_001);
    await gone.close();
    await second.stop();
  }).timeout(60_000);

  it("begins anew, for what it missed is lost; one of a quiet view is not among them (hazards 6, 21 and 21a)", async function () {
    this.timeout(60_000);
    server = await startOwnServer(["--oplog-max-entries", "300", "--oplog-retention-seconds", "1"]);
    const database = await freshDatabase(server);
    const items = database.db.collection<Item>("items");
    const busy = database.db.collection<Item>("busy");
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true }, busy: { read: true } },
      history,
    });
    await items.insertOne({ _id: 1, group: "a", n: 1 });
    const gone = await subscribe(gateway.websocketUrl, { interface: "items" });
    const quiet = await subscribe(gateway.websocketUrl, { interface: "items" });
    await gone.ready();
    await quiet.ready();
    const [left, young] = [gone.position, quiet.position];
    await gone.client.close();
    const roll = async (from: number): Promise<void> => {
      for (let n = 0; n < 10; n++) {
        const some = Array.from({ length: 200 }, (_, index) => ({ _id: from + n * 200 + index, group: "x", n }));
        await busy.insertMany(some);
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
    };
    await roll(0);
    // `progress` comes by itself about every 10 s.
    await quiet.until(() => quiet.position > young, 15_000);
    await quiet.client.close();
    await items.insertOne({ _id: 2, group: "a", n: 2 });
    await quiet.reconnect();
    await quiet.until((rows) => rows.has("2"));
    expect([quiet.recoveries, quiet.resets]).to.deep.equal([1, []]);
    expect(gone.position).to.equal(left);
    await gone.reconnect();
    await gone.until((rows) => rows.has("2"));
    expect([gone.recoveries, gone.resets]).to.deep.equal([0, ["too-far-behind"]]);
    for (const each of [gone, quiet]) {
      expect(each.faults).to.deep.equal([]);
      await each.close();
    }
    await gateway.stop();
    await database.dispose();
  });
});
