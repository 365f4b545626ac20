import { expect } from "chai";
import { type LiveClient, type Message, type ProtocolRig, startRig } from "./support.js";

describe("PROTOCOL.md, subscribing", () => {
  let rig: ProtocolRig;
  let client: LiveClient;
  before(async () => {
    rig = await startRig();
  });
  beforeEach(async () => {
    await rig.items().deleteMany({});
    await rig.items().insertMany([
      { _id: 1, group: "a", n: 1 },
      { _id: 2, group: "b", n: 2 },
    ]);
    await rig.settle();
    client = await rig.live();
    await client.next();
  });
  afterEach(() => rig.closeClients());
  after(() => rig.dispose());
  const rowsIn = (messages: readonly Message[]): unknown[] =>
    messages.filter(({ type }) => type === "snapshot").flatMap(({ data }) => data as unknown[]);

  it("S9: every member means what it says, and an id of 1 is another than the text 1", async () => {
    const filtered = await client.subscribe({ id: 1, interface: "items", filter: { group: "a" }, fields: ["n"] });
    expect(rowsIn(filtered)).to.deep.equal([{ id: 1, n: 1 }]);
    const extended = await client.subscribe({
      id: "1",
      interface: "items",
      filter: { n: { $gte: { $numberLong: "2" } } },
    });
    expect(rowsIn(extended)).to.deep.equal([{ id: 2, group: "b", n: 2 }]);
    expect([...filtered, ...extended].map(({ id }) => id)).to.deep.equal([1, 1, "1", "1"]);
    for (const id of ["", "x".repeat(129), null, {}, true]) {
      const wrong = await rig.live();
      wrong.send({ type: "subscribe", id, interface: "items" });
      expect((await wrong.closed).code).to.equal(4400);
    }
  });

  it("S10: rows come in parts of which only the last says so, then ready", async () => {
    const text = "x".repeat(1_000);
    await rig.items().insertMany(Array.from({ length: 300 }, (_, n) => ({ _id: 10 + n, group: text, n })));
    const messages = await client.subscribe({ id: "all", interface: "items" });
    const parts = messages.slice(0, -1);
    expect(parts.length).to.be.greaterThan(2);
    expect(parts.map(({ last }) => last)).to.deep.equal(parts.map((_, i) => i === parts.length - 1));
    for (const part of parts) expect(part).to.have.all.keys("type", "id", "interface", "data", "last");
    expect(rowsIn(parts)).to.have.length(302);
    const empty = await client.subscribe({ id: "none", interface: "items", filter: { n: -1 } });
    const none = empty.filter(({ id }) => id === "none");
    expect(none[0]).to.deep.equal({ type: "snapshot", id: "none", interface: "items", data: [], last: true });
    expect(none.map(({ type }) => type)).to.deep.equal(["snapshot", "ready"]);
  });

  it("S11: every change after the position of ready follows", async () => {
    const ready = (await client.subscribe({ id: 1, interface: "items" })).at(-1) as Message;
    expect(ready).to.have.all.keys("type", "id", "view", "position", "recovered");
    expect(ready).to.include({ id: 1, recovered: false });
    await rig.items().updateOne({ _id: 1 }, { $set: { n: 5 } });
    const change = await client.next();
    expect(change).to.deep.include({ operation: "update", data: { id: 1, group: "a", n: 5 } });
    expect((change.position as string) > (ready.position as string)).to.equal(true);
  });

  it("S12: without a snapshot ready comes at once, then changes from now on", async () => {
    const messages = await client.subscribe({ id: 1, interface: "items", snapshot: false });
    expect(messages).to.have.length(1);
    expect(messages[0]).to.include({ recovered: false });
    await rig.items().updateOne({ _id: 2 }, { $set: { n: 5 } });
    expect(await client.next()).to.deep.include({ operation: "update", data: { id: 2, group: "b", n: 5 } });
  });

  it("S13: with since, ready comes first and what was missed follows in order, without rows", async () => {
    const { position, view } = (await client.subscribe({ id: 1, interface: "items" })).at(-1) as Message;
    await client.close();
    await rig.items().insertOne({ _id: 3, group: "a", n: 3 });
    await rig.items().updateOne({ _id: 3 }, { $set: { n: 4 } });
    await rig.items().deleteOne({ _id: 1 });
    for (const more of [{ view }, {}, { view, snapshot: false }]) {
      const back = await rig.live();
      await back.next();
      const [ready] = await back.subscribe({ id: 9, interface: "items", since: position, ...more });
      expect(ready).to.deep.equal({ type: "ready", id: 9, view, position, recovered: true });
      const missed = await back.take(3);
      expect(missed.map(({ operation }) => operation)).to.deep.equal(["insert", "update", "delete"]);
      expect(missed[0]?.previous).to.equal(position);
      expect(await back.quiet()).to.deep.equal([]);
    }
  });

  it("S13: with a since that can't be honoured, reset comes first, then rows", async () => {
    const { position } = (await client.subscribe({ id: 1, interface: "items" })).at(-1) as Message;
    const all = await client.subscribe({ id: 2, interface: "items", since: position, view: "another" });
    expect(all.map(({ type }) => type)).to.deep.equal(["reset", "snapshot", "ready"]);
    expect(all[0]).to.include({ id: 2, reason: "rule-changed" });
    expect(all[2]).to.include({ id: 2, recovered: false });
    expect(rowsIn(all)).to.have.length(2);
  });

  it("S14: after unsubscribed nothing more comes, unless another subscription has the view", async () => {
    for (const id of [1, 2]) await client.subscribe({ id, interface: "items" });
    client.send({ type: "unsubscribe", id: 1 });
    expect(await client.next()).to.deep.equal({ type: "unsubscribed", id: 1 });
    await rig.items().insertOne({ _id: 3, group: "a", n: 3 });
    expect(await client.next()).to.include({ operation: "insert" });
    client.send({ type: "unsubscribe", id: 2 });
    expect(await client.next()).to.deep.equal({ type: "unsubscribed", id: 2 });
    const neighbour = await rig.live();
    await neighbour.subscribe({ id: 1, interface: "items" });
    await rig.items().insertOne({ _id: 4, group: "a", n: 4 });
    await neighbour.until(({ operation }) => operation === "insert");
    expect(await client.quiet()).to.deep.equal([]);
  });
});
