import { expect } from "chai";
import { connectClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";
import {
  bearer,
  type Item,
  type LiveClient,
  leastPosition,
  type Message,
  type ProtocolRig,
  startRig,
  tokenOf,
} from "./support.js";

describe("PROTOCOL.md, changes and positions", () => {
  let rig: ProtocolRig;
  let client: LiveClient;
  const subscribers: Subscriber[] = [];
  before(async () => {
    rig = await startRig();
  });
  beforeEach(async () => {
    await rig.items().deleteMany({});
    await rig.items().insertMany([
      { _id: 1, group: "a", n: 1, owner: "ann" },
      { _id: 2, group: "b", n: 2, owner: "bob" },
    ]);
    await rig.settle();
    client = await rig.live();
    await client.next();
  });
  afterEach(async () => {
    for (const subscriber of subscribers.splice(0)) await subscriber.close();
    await rig.closeClients();
  });
  after(() => rig.dispose());
  const set = (_id: number, fields: Partial<Item>) => rig.items().updateOne({ _id }, { $set: fields });
  const positionOf = (message: Message | undefined): string => message?.position as string;
  const join = async (
    options: Parameters<typeof subscribe>[1],
    url = rig.gateway.websocketUrl,
  ): Promise<Subscriber> => {
    const subscriber = await subscribe(url, options);
    subscribers.push(subscriber);
    await subscriber.ready();
    return subscriber;
  };

  it("S15: a change has six members, and comes once for all subscriptions of its view", async () => {
    const [first] = (await client.subscribe({ id: 1, interface: "items" })).slice(-1);
    const [second] = (await client.subscribe({ id: 2, interface: "items" })).slice(-1);
    expect(second?.view).to.equal(first?.view);
    await set(1, { n: 5 });
    const change = await client.next();
    expect(change).to.have.all.keys("interface", "operation", "data", "view", "position", "previous");
    expect(change.view).to.equal(first?.view);
    expect(await client.quiet()).to.deep.equal([]);
  });

  it("S16: positions are 32 hexadecimal digits that grow as text, the same on every gateway", async () => {
    const other = await startTestGateway({
      mongo: rig.database.uri,
      interfaces: { items: { read: true, fields: ["n"] } },
    });
    const there = await rig.live({ url: other.websocketUrl });
    await client.subscribe({ id: 1, interface: "items" });
    await there.subscribe({ id: 1, interface: "items" });
    const here: string[] = [];
    const beside: string[] = [];
    for (let n = 10; n < 30; n++) {
      await set(1, { n });
      here.push(positionOf(await client.next()));
      beside.push(positionOf((await there.until(({ type }) => type === undefined)).at(-1)));
    }
    expect(beside).to.deep.equal(here);
    for (const position of here) expect(position).to.match(/^[0-9a-f]{32}$/);
    expect([...here].sort()).to.deep.equal(here);
    expect(new Set(here).size).to.equal(20);
    await there.close();
    await other.stop();
  });

  it("S17: a position that a pong raised is one to go on from", async () => {
    const { view } = (await client.subscribe({ id: 1, interface: "items", filter: { group: "a" } })).at(-1) as Message;
    await set(2, { n: 5 });
    await rig.settle();
    client.send({ type: "ping" });
    const pong = positionOf((await client.untilType("pong")).at(-1));
    await client.close();
    await set(1, { n: 6 });
    // So that it is missed, and does not come as the first that is live.
    await rig.settle();
    const back = await rig.live();
    await back.next();
    const wanted = { id: 1, interface: "items", filter: { group: "a" }, since: pong, view };
    expect(await back.subscribe(wanted)).to.deep.equal([
      { type: "ready", id: 1, view, position: pong, recovered: true },
    ]);
    expect(await back.next()).to.deep.include({ previous: pong, data: { id: 1, group: "a", n: 6 } });
  });

  it("S18: previous is the position of the view's message before it, and of no other", async () => {
    const ready = (await client.subscribe({ id: 1, interface: "items", filter: { group: "a" } })).at(-1);
    await set(1, { n: 5 });
    await set(2, { n: 5 });
    await set(1, { n: 6 });
    const [first, second] = await client.take(2);
    expect((first?.previous as string) <= positionOf(ready)).to.equal(true);
    expect(second?.previous).to.equal(positionOf(first));
  });

  it("S18: previous is that also after what was said while nobody followed the view", async () => {
    const about = { interface: "items", filter: { group: "a" } };
    const { view } = (await client.subscribe({ id: 1, ...about })).at(-1) as Message;
    await set(1, { n: 11 });
    const [told] = await client.take(1);
    await client.close();
    for (const n of [12, 13]) {
      await set(1, { n });
      await rig.settle();
    }
    const back = await rig.live();
    await back.next();
    await back.subscribe({ id: 1, ...about, since: positionOf(told), view });
    const missed = await back.take(2);
    await set(1, { n: 14 });
    const [next] = await back.take(1);
    expect([...missed, next].map((message) => message?.previous)).to.deep.equal([told, ...missed].map(positionOf));
    await back.close();
    await set(1, { n: 15 });
    await rig.settle();
    const fresh = await rig.live();
    await fresh.next();
    const ready = (await fresh.subscribe({ id: 1, ...about })).at(-1);
    await set(1, { n: 16 });
    const [first] = await fresh.take(1);
    expect((first?.previous as string) >= positionOf(ready)).to.equal(true);
  });

  it("S18: previous is after nobody's position, whoever joined after a time that nobody followed, and how", async () => {
    const snapshots = { readConcern: "snapshot" } as const;
    const interfaces = { items: { read: true }, blind: { read: true } };
    const gateway = await startTestGateway({ mongo: rig.database.uri, interfaces, snapshots });
    const join = async (more: object): Promise<{ live: LiveClient; ready: Message | undefined }> => {
      const live = await rig.live({ url: gateway.websocketUrl });
      await live.next();
      return { live, ready: (await live.subscribe({ id: 1, interface: "items", ...more })).at(-1) };
    };
    const { live: first } = await join({});
    await first.close();
    const witness = await connectClient(`${gateway.websocketUrl}?interfaces=blind`);
    await set(1, { n: 21 });
    await rig.database.db.collection<Item>("blind").insertOne({ _id: 100, group: "a", n: 1 });
    await witness.next();
    await join({});
    const { live, ready } = await join({ snapshot: false });
    await set(1, { n: 22 });
    const [told] = await live.take(1);
    expect((told?.previous as string) <= positionOf(ready)).to.equal(true);
    await witness.close();
    await gateway.stop();
  });

  it("S19: reset says why, after ready too, and rows and ready follow by themselves", async () => {
    const { db } = rig.database;
    for (const [reason, end] of [
      ["dropped", () => db.collection("blind").drop()],
      ["renamed", () => db.renameCollection("blind", "away")],
    ] as const) {
      await db.collection<Item>("blind").insertOne({ _id: 1, group: "a", n: 1 });
      await rig.settle();
      const again = await rig.live();
      await again.next();
      const before = (await again.subscribe({ id: reason, interface: "blind" })).at(-1);
      await end();
      const [reset, ...rest] = await again.untilType("ready");
      expect(reset).to.deep.equal({ type: "reset", id: reason, view: before?.view, reason });
      expect(rest.map(({ type }) => type)).to.deep.equal(["snapshot", "ready"]);
      expect(rest[0]?.data).to.deep.equal([]);
      await db.collection("away").drop();
      await again.close();
    }
  });

  it("S19: a since that is no position of this database, or too old, is told apart", async () => {
    const own = (await client.subscribe({ id: 1, interface: "items" })).at(-1);
    const tag = positionOf(own).slice(24);
    const rows: [since: string, reason: string][] = [
      ["", "unknown-position"],
      ["x".repeat(32), "unknown-position"],
      [leastPosition, "unknown-position"],
      [`${positionOf(own).slice(0, 24)}${tag === "00000000" ? "11111111" : "00000000"}`, "unknown-position"],
      [`${"0".repeat(24)}${tag}`, "too-far-behind"],
    ];
    for (const [since, reason] of rows) {
      const [reset, ...rest] = await client.subscribe({ id: since || "none", interface: "items", since });
      expect(reset, since).to.include({ type: "reset", reason });
      expect(rest.map(({ type }) => type)).to.deep.equal(["snapshot", "ready"]);
    }
  });

  it("S19: without pre-images a change that may concern the view is membership-unknown", async () => {
    const blind = rig.database.db.collection<Item>("blind");
    await blind.insertOne({ _id: 1, group: "a", n: 1 });
    await rig.settle();
    const wanted = { id: 1, interface: "blind", filter: { group: "a" } };
    const { position, view } = (await client.subscribe(wanted)).at(-1) as Message;
    await client.close();
    await blind.updateOne({ _id: 1 }, { $set: { group: "b" } });
    await rig.settle();
    const back = await rig.live();
    await back.next();
    const [reset, rows] = await back.subscribe({ ...wanted, since: position, view });
    expect(reset).to.include({ type: "reset", reason: "membership-unknown" });
    expect(rows?.data).to.deep.equal([]);
    await blind.drop();
  });

  it("S20: documents enter, change within and leave a view, and no other id is told", async () => {
    const ann = await rig.live(bearer(await tokenOf("ann")));
    await ann.subscribe({ id: 1, interface: "mine", filter: { n: { $lt: 10 } } });
    // Each is seen before the next: some servers show a document in a change as it is when they are asked.
    for (const fields of [{ n: 3 }, { owner: "ann" }, { n: 4 }, { n: 10 }]) {
      await set(2, fields);
      await rig.settle();
    }
    await rig.items().deleteOne({ _id: 2 });
    await set(1, { owner: "bob" });
    await rig.settle();
    await rig.items().deleteOne({ _id: 1 });
    await rig.items().insertOne({ _id: 3, group: "a", n: 1, owner: "ann" });
    const changes = await ann.until(({ data }) => (data as { id?: unknown } | undefined)?.id === 3);
    expect(changes.map(({ operation, data }) => [operation, data])).to.deep.equal([
      ["insert", { id: 2, group: "b", n: 3 }],
      ["update", { id: 2, group: "b", n: 4 }],
      ["delete", [2]],
      ["delete", [1]],
      ["insert", { id: 3, group: "a", n: 1 }],
    ]);
  });

  it("S21: a delete with an empty list moves the position on, and keeps the chain whole", async () => {
    const wanted = { id: 1, interface: "items", filter: { group: "a" } };
    const { view, position } = (await client.subscribe(wanted)).at(-1) as Message;
    await client.close();
    // Another gateway begins to follow the view where the stream stands by then, which is after `since`.
    await set(2, { n: 7 });
    const other = await startTestGateway({
      mongo: rig.database.uri,
      interfaces: { items: { read: true, fields: ["group", "n"], filterable: ["owner"] } },
    });
    const back = await rig.live({ url: other.websocketUrl });
    await back.next();
    await back.subscribe({ ...wanted, since: position, view });
    const nothing = await back.next();
    expect(nothing).to.deep.include({ interface: "items", operation: "delete", data: [], view, previous: position });
    expect(positionOf(nothing) > (position as string)).to.equal(true);
    await set(1, { n: 7 });
    expect(await back.next()).to.deep.include({ operation: "update", previous: positionOf(nothing) });
    await back.close();
    await other.stop();
  });

  it("S22: the same interface, filter, fields and rights are the same view, on every gateway", async () => {
    const viewOf = async (more: object, from = client): Promise<unknown> =>
      (await from.subscribe({ id: `${Math.random()}`, interface: "items", ...more })).at(-1)?.view;
    const view = await viewOf({ filter: { group: "a", n: 1 }, fields: ["n", "group"] });
    expect(await viewOf({ filter: { n: 1, group: "a" }, fields: ["group", "n"] })).to.equal(view);
    expect(await viewOf({ filter: { n: 1, group: "a" }, fields: ["n"] })).not.to.equal(view);
    expect(await viewOf({ filter: { n: 2, group: "a" }, fields: ["n", "group"] })).not.to.equal(view);
    const [ann, bob] = [await rig.live(bearer(await tokenOf("ann"))), await rig.live(bearer(await tokenOf("bob")))];
    expect(await viewOf({ interface: "mine" }, ann)).not.to.equal(await viewOf({ interface: "mine" }, bob));
    const other: TestGateway = await startTestGateway({
      mongo: rig.database.uri,
      interfaces: { items: { read: true, fields: ["group", "n"] } },
    });
    const there = await rig.live({ url: other.websocketUrl });
    expect(await viewOf({ filter: { group: "a", n: 1 }, fields: ["n", "group"] }, there)).to.equal(view);
    await there.close();
    await other.stop();
  });

  it("S23: progress comes about every 10 s to who subscribes, and to nobody else", async () => {
    const idle = await rig.live();
    await idle.next();
    const busy = await rig.live({ progress: true });
    const ready = (await busy.subscribe({ id: 1, interface: "items", filter: { n: -1 } })).at(-1);
    await busy.subscribe({ id: 2, interface: "items" });
    await set(1, { n: 5 });
    const change = (await busy.until(({ operation }) => operation === "update")).at(-1);
    const progress = (await busy.untilType("progress", 25_000)).at(-1);
    expect(positionOf(progress) >= positionOf(change)).to.equal(true);
    expect(positionOf(progress) > positionOf(ready)).to.equal(true);
    expect(await idle.quiet()).to.deep.equal([]);
  });

  it("S24: a pong tells how far all views are complete, and nothing while one is joining", async () => {
    await client.subscribe({ id: 1, interface: "items" });
    await set(1, { n: 5 });
    const change = await client.next();
    client.send({ type: "ping" });
    expect(positionOf(await client.next()) >= positionOf(change)).to.equal(true);
    client.send({ type: "subscribe", id: 2, interface: "items", filter: { n: 5 } });
    client.send({ type: "ping" });
    const messages = await client.untilType("ready");
    expect(messages[0]).to.deep.equal({ type: "pong", position: leastPosition });
  });

  it("S25: the changes of a view come in the database's order, each once, none left out", async () => {
    const ready = (await client.subscribe({ id: 1, interface: "items", filter: { group: "a" } })).at(-1);
    const expected: number[] = [];
    for (let _id = 100; _id < 200; _id++) {
      await rig.items().insertMany([
        { _id, group: "a", n: 1 },
        { _id: -_id, group: "b", n: 1 },
      ]);
      expected.push(_id);
    }
    const changes = await client.take(100);
    expect(changes.map(({ data }) => (data as { id: number }).id)).to.deep.equal(expected);
    let held = positionOf(ready);
    for (const [index, { previous, position }] of (changes as { previous: string; position: string }[]).entries()) {
      if (index > 0) expect(previous).to.equal(held);
      expect(position > held).to.equal(true);
      held = position;
    }
    expect(await client.quiet()).to.deep.equal([]);
  });

  it("S26: since goes on on another gateway, and after a restart of the gateway goes on or is reset", async () => {
    const options = { mongo: rig.database.uri, interfaces: { items: { read: true, fields: ["group", "n"] } } };
    const second = await startTestGateway(options);
    const subscriber = await join({ interface: "items", filter: { group: "a" } });
    await subscriber.client.close();
    await set(1, { n: 50 });
    await set(2, { group: "a" });
    await subscriber.reconnect(second.websocketUrl);
    await subscriber.until((rows) => rows.has("2") && rows.get("1")?.n === 50);
    expect([subscriber.recoveries, subscriber.resets]).to.deep.equal([1, []]);
    await second.stop();
    await set(2, { group: "b" });
    await set(1, { n: 51 });
    const third = await startTestGateway(options);
    await subscriber.reconnect(third.websocketUrl);
    await subscriber.until((rows) => !rows.has("2") && rows.get("1")?.n === 51);
    expect(subscriber.recoveries + subscriber.resets.length).to.equal(2);
    expect(subscriber.faults).to.deep.equal([]);
    await subscriber.close();
    await third.stop();
  });
});
