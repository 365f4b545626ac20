import { expect } from "chai";
import { ClientError } from "../../src/client/error.js";
import type { Change, Client, Doc, Live, Reset } from "../../src/client/types.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { startProxy, type Proxy as TcpProxy } from "../support/proxy.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { closeClients, heard, open, until } from "./support.js";

type Item = Doc & { id: number; group: string; n: number };

describe("a live query of the client library", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let proxy: TcpProxy;
  let client: Client;
  const items = () => database.db.collection<{ _id: number; group: string; n: number; at?: Date }>("items");
  const ids = (live: Live<Item>): number[] => live.docs.map(({ id }) => id);

  const start = (port: number): Promise<TestGateway> =>
    startTestGateway({
      mongo: database.uri,
      port,
      interfaces: { items: { read: true, write: true, fields: ["group", "n"], filterable: ["at"] } },
    });

  beforeEach(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    const documents = [1, 2, 3].map((n) => ({ _id: n, group: n < 3 ? "a" : "b", n, at: new Date(n * 1_000) }));
    await items().insertMany(documents);
    gateway = await start(await freePort());
    proxy = await startProxy({ port: gateway.gateway.port });
    client = open(`ws://127.0.0.1:${proxy.port}/ws`);
  });
  afterEach(async () => {
    closeClients();
    await proxy.close();
    await gateway.stop();
    await database.dispose();
  });

  const group = (name: string): Live<Item> => client.interface<Item>("items").where({ group: name }).live();

  it("holds what matches, and follows what enters it, changes in it and leaves it", async () => {
    const live = group("a");
    expect([live.state, live.docs, live.position, live.copy]).to.deep.equal(["joining", [], undefined, undefined]);
    expect(await live.ready()).to.have.deep.members([
      { id: 1, group: "a", n: 1 },
      { id: 2, group: "a", n: 2 },
    ]);
    await items().updateOne({ _id: 3 }, { $set: { group: "a" } });
    const { changes } = await until(live, ({ docs }) => docs.length === 3);
    expect(changes.map(({ operation, data }) => [operation, data])).to.deep.equal([
      ["insert", { id: 3, group: "a", n: 3 }],
    ]);
    await items().updateOne({ _id: 1 }, { $set: { n: 100 } });
    await until(live, ({ docs }) => docs.some(({ id, n }) => id === 1 && n === 100));
    await items().updateOne({ _id: 2 }, { $set: { group: "b" } });
    await until(live, ({ docs }) => docs.length === 2);
    await items().deleteOne({ _id: 1 });
    await until(live, ({ docs }) => docs.length === 1);
    expect(live.docs).to.deep.equal([{ id: 3, group: "a", n: 3 }]);
  });

  it("tells its listeners once of what came together, and keeps its array while nothing changes", async () => {
    const live = client.interface<Item>("items").live();
    const updates = heard(live);
    await live.ready();
    await until(live, ({ docs }) => docs.length === 3);
    expect(updates.map(({ state, replaced, docs }) => [state, replaced, docs.length])).to.deep.equal([
      ["joining", true, 0],
      ["live", true, 3],
    ]);
    expect(live.docs).to.equal(updates[1]?.docs);
    await items().insertMany(Array.from({ length: 500 }, (_, n) => ({ _id: 10 + n, group: "c", n })));
    await until(live, ({ docs }) => docs.length === 503);
    const later = updates.slice(2);
    expect(later.length).to.be.lessThan(50);
    expect(later.flatMap(({ changes }) => changes.map(({ data }) => (data as Item).id))).to.deep.equal(
      Array.from({ length: 500 }, (_, n) => 10 + n),
    );
    expect(later.every(({ replaced }) => !replaced)).to.equal(true);
    expect(live.docs).to.equal(live.docs);
  });

  it("shows what it held while its connection is lost, then goes on where it was", async () => {
    const live = client.interface<Item>("items").live();
    const updates = heard(live);
    await live.ready();
    for (let round = 1; round <= 3; round++) {
      const previous = live.docs;
      proxy.cut();
      await until(live, ({ state }) => state === "away");
      expect(live.docs).to.deep.equal(previous);
      await items().insertOne({ _id: 10 * round, group: "a", n: round });
      await until(live, ({ docs }) => docs.some(({ id }) => id === 10 * round));
      expect(live.state).to.equal("live");
    }
    expect(updates.filter(({ replaced }) => replaced).length).to.equal(2);
    const told = updates.flatMap(({ changes }) => changes.map(({ data }) => (data as Item).id));
    expect(told).to.deep.equal([10, 20, 30]);
  });

  it("goes on after a restart of the gateway", async () => {
    const live = group("a");
    await live.ready();
    const updates = heard(live);
    const codes: unknown[] = [];
    client.subscribe(({ error }) => codes.push(error?.closeCode));
    await gateway.stop();
    await until(live, ({ state }) => state === "away");
    expect(codes).to.include(1001);
    await items().insertOne({ _id: 4, group: "a", n: 4 });
    gateway = await start(gateway.gateway.port);
    await until(live, ({ docs, state }) => docs.length === 3 && state === "live");
    expect(updates.slice(1).some(({ replaced }) => replaced)).to.equal(false);
  });

  it("has nothing to show after a drop, until there is something anew", async () => {
    const live = group("a");
    await live.ready();
    const feed = live.changes();
    await items().drop();
    await until(live, ({ replaced, state }) => replaced && state === "live");
    const reset = (await feed.next()).value as Reset<Item>;
    expect(reset).to.deep.equal({ operation: "reset", reason: "dropped", docs: [] });
    await items().insertOne({ _id: 9, group: "a", n: 9 });
    await until(live, ({ docs }) => docs.length === 1);
    expect(((await feed.next()).value as Change<Item>).data).to.deep.equal({ id: 9, group: "a", n: 9 });
  });

  it("shares its connection, and its view, with others", async () => {
    const [one, other] = [group("a"), group("a")];
    const third = client.interface<Item>("items").live();
    await Promise.all([one.ready(), other.ready(), third.ready()]);
    expect(one.copy?.view).to.equal(other.copy?.view).and.not.to.equal(third.copy?.view);
    one.close();
    await items().insertOne({ _id: 4, group: "a", n: 4 });
    await Promise.all([other, third].map((live) => until(live, ({ docs }) => docs.some(({ id }) => id === 4))));
    expect([one.state, one.error, ids(one)]).to.deep.equal(["ended", undefined, [1, 2]]);
    expect(proxy.connections).to.equal(1);
  });

  it("takes several conditions, of dates, patterns and large numbers too, and a choice of fields", async () => {
    const all = client.interface<Item>("items");
    const early = all.where({ at: { $lte: new Date(2_000) } });
    const both = early.where({ group: /^A/i, n: { $lt: 2n ** 40n } }).select("n");
    const [one, other] = [early.where({ n: { $gte: 2 } }).live(), both.live()];
    await Promise.all([one.ready(), other.ready()]);
    expect(one.docs).to.deep.equal([{ id: 2, group: "a", n: 2 }]);
    expect(other.docs).to.have.deep.members([
      { id: 1, n: 1 },
      { id: 2, n: 2 },
    ]);
  });

  it("ends with the gateway's reason where it is refused, and others go on", async () => {
    const good = group("a");
    const bad = client.interface<Item>("items").where({ $where: "true" }).live();
    const error = await bad.ready().catch((reason: unknown) => reason);
    expect(error).to.be.instanceOf(ClientError).and.to.include({ status: 400 });
    expect(String(error)).to.include("$where");
    expect([bad.state, bad.error]).to.deep.equal(["ended", error]);
    const unknown = client.interface("nothing").live();
    expect(await unknown.ready().catch((reason: unknown) => reason)).to.include({ code: "unknown-interface" });
    const thrown = await unknown
      .changes()
      .next()
      .catch((reason: unknown) => reason);
    expect(thrown).to.include({ code: "unknown-interface" });
    await good.ready();
    expect(client.state).to.equal("open");
  });

  it("tries again while the database can't give the rows", async () => {
    // What the rows are read with.
    await failCommand(database.client, { times: 1 }, { failCommands: ["find"], errorCode: 8000 });
    const live = group("a");
    const updates = heard(live);
    expect((await live.ready()).length).to.equal(2);
    const refused = updates.filter(({ error }) => error !== undefined);
    expect(refused.map(({ state, error }) => [state, error?.status])).to.deep.include(["joining", 503]);
    expect(live.error).to.equal(undefined);
  });

  it("goes on from a copy that was kept", async () => {
    const before = group("a");
    await before.ready();
    const copy = JSON.parse(JSON.stringify(before.copy)) as NonNullable<typeof before.copy>;
    before.close();
    await items().insertOne({ _id: 4, group: "a", n: 4 });
    const live = client.interface<Item>("items").where({ group: "a" }).live({ copy });
    const updates = heard(live);
    expect([live.state, ids(live)]).to.deep.equal(["away", [1, 2]]);
    await until(live, ({ docs }) => docs.length === 3);
    expect(updates.slice(1).some(({ replaced }) => replaced)).to.equal(false);
  });

  it("with `snapshot: false` tells changes only, through lost connections as well", async () => {
    const live = client.interface<Item>("items").live({ snapshot: false });
    const feed = live.changes();
    await live.ready();
    await items().insertOne({ _id: 4, group: "a", n: 4 });
    expect(((await feed.next()).value as Change<Item>).data).to.include({ id: 4 });
    proxy.cut();
    await until(live, ({ state }) => state === "away");
    await items().deleteMany({ _id: { $gt: 2 } });
    const told: unknown[] = [];
    while (told.length < 2) told.push(...((await feed.next()).value as Change<Item> & { data: number[] }).data);
    expect(told).to.have.members([3, 4]);
    expect(live.docs).to.deep.equal([]);
  });

  describe("has caught up", () => {
    const write = async (group: string): Promise<string> => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ group, n: 1 });
      const answer = await fetch(`${gateway.url}/api/items`, { method: "POST", headers, body });
      expect(answer.status).to.equal(201);
      return answer.headers.get("tailgate-position") ?? "";
    };

    it("with a write as soon as it shows it", async () => {
      const live = group("a");
      await live.caughtUp(await write("a"));
      expect(live.docs.length).to.equal(3);
      const position = await write("a");
      await live.caughtUp(position);
      expect(live.docs.length).to.equal(4);
      await live.caughtUp(position);
    });

    it("with a write that is none of its own, without waiting for the next `progress`", async () => {
      const live = group("a");
      await live.ready();
      const position = await write("b");
      await live.caughtUp(position, { signal: AbortSignal.timeout(8_000) });
      expect((live.position ?? "") >= position).to.equal(true);
    });

    it("never with what is no position, or when it has ended, or when nobody waits any more", async () => {
      const live = group("a");
      await live.ready();
      const failed = (promise: Promise<unknown>) =>
        promise.then(
          () => "done",
          (reason: unknown) => reason,
        );
      expect(await failed(live.caughtUp("yesterday"))).to.be.instanceOf(TypeError);
      const later = "f".repeat(32);
      const reason = new Error("enough");
      const abort = new AbortController();
      const waiting = failed(live.caughtUp(later, { signal: abort.signal }));
      abort.abort(reason);
      expect(await waiting).to.equal(reason);
      const other = failed(live.caughtUp(later));
      live.close();
      expect(await other).to.include({ name: "ClientError", code: "closed" });
    });
  });

  describe("gives its changes to a loop", () => {
    it("each once and in order, until the loop is left", async () => {
      const live = client.interface<Item>("items").live();
      await live.ready();
      const feed = live.changes();
      await items().insertMany(Array.from({ length: 20 }, (_, n) => ({ _id: 10 + n, group: "c", n })));
      const seen: number[] = [];
      for await (const change of feed) {
        seen.push((change as Change<Item> & { data: Item }).data.id);
        if (seen.length === 20) break;
      }
      expect(seen).to.deep.equal(Array.from({ length: 20 }, (_, n) => 10 + n));
      expect(await feed.next()).to.deep.equal({ value: undefined, done: true });
    });

    it("as one reset where it is too far behind", async () => {
      const live = client.interface<Item>("items").live();
      await live.ready();
      const feed = live.changes();
      await items().insertMany(Array.from({ length: 10_001 }, (_, n) => ({ _id: 10 + n, group: "c", n })));
      await until(live, ({ docs }) => docs.length === 10_004);
      const reset = (await feed.next()).value as Reset<Item>;
      expect([reset.operation, reset.reason, reset.docs.length]).to.deep.equal(["reset", "too-slow", 10_004]);
      await items().deleteOne({ _id: 10 });
      expect((await feed.next()).value).to.deep.include({ operation: "delete", data: [10] });
    });

    it("until it is closed", async () => {
      const live = client.interface<Item>("items").live();
      const feed = live.changes();
      const next = feed.next();
      live.close();
      expect(await next).to.deep.equal({ value: undefined, done: true });
      expect(await live.changes().next()).to.deep.equal({ value: undefined, done: true });
    });
  });
});
