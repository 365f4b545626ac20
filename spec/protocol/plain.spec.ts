import { expect } from "chai";
import { bearer, type Message, type ProtocolRig, startRig, tokenOf } from "./support.js";

describe("PROTOCOL.md, plain mode", () => {
  let rig: ProtocolRig;
  before(async () => {
    rig = await startRig();
  });
  beforeEach(() => rig.items().deleteMany({}));
  afterEach(() => rig.closeClients());
  after(() => rig.dispose());

  it("P1: all that may be read, or the named interfaces, from the moment it is open", async () => {
    const all = await rig.plain();
    const one = await rig.plain("?interfaces=blind");
    await rig.items().insertOne({ _id: 1, group: "a", n: 1 });
    await rig.database.db.collection<{ _id: number }>("blind").insertOne({ _id: 2 });
    expect((await all.take(2)).map(({ interface: name }) => name)).to.deep.equal(["items", "blind"]);
    expect(await one.next()).to.include({ interface: "blind" });
    const closes = [];
    for (const name of ["nope", "secret"]) closes.push(await (await rig.plain(`?interfaces=items,${name}`)).closed);
    expect(closes.map(({ code }) => code)).to.deep.equal([4400, 4400]);
    expect(closes[1]?.reason.replace("secret", "nope")).to.equal(closes[0]?.reason);
  });

  it("P2: exactly three members, and documents enter and leave what may be read", async () => {
    const ann = await rig.plain("?interfaces=mine", bearer(await tokenOf("ann")));
    await rig.items().insertOne({ _id: 1, group: "a", n: 1, owner: "bob" });
    // One after another: SecantusDB may show an update as the document was later.
    const told: Message[] = [];
    for (const change of [{ owner: "ann" }, { n: 2 }, { owner: "bob" }]) {
      await rig.items().updateOne({ _id: 1 }, { $set: change });
      told.push(await ann.next());
    }
    await rig.items().deleteOne({ _id: 1 });
    await rig.items().insertOne({ _id: 2, group: "a", n: 9, owner: "ann" });
    expect([...told, await ann.next()]).to.deep.equal([
      { interface: "mine", operation: "insert", data: { id: 1, group: "a", n: 1 } },
      { interface: "mine", operation: "update", data: { id: 1, group: "a", n: 2 } },
      { interface: "mine", operation: "delete", data: [1] },
      { interface: "mine", operation: "insert", data: { id: 2, group: "a", n: 9 } },
    ]);
  });

  it("P3: what the client sends is ignored", async () => {
    await rig.settle();
    const client = await rig.plain("?interfaces=items");
    for (const text of ["{", '{"type":"ping"}', '{"type":"subscribe","id":1,"interface":"blind"}']) {
      client.socket.send(text);
    }
    client.socket.send(Buffer.from([0, 255]));
    await rig.items().insertOne({ _id: 1, group: "a", n: 1 });
    expect(await client.next()).to.deep.include({ data: { id: 1, group: "a", n: 1 } });
    expect(client.received).to.have.length(1);
  });

  it("P4: a dropped or renamed collection closes its connections with 4510, and no others", async () => {
    const { db } = rig.database;
    for (const end of [() => db.collection("blind").drop(), () => db.renameCollection("blind", "away")]) {
      await db.collection("blind").insertOne({ group: "a" });
      const [hit, spared] = [await rig.plain("?interfaces=blind"), await rig.plain("?interfaces=items")];
      await end();
      expect((await hit.closed).code).to.equal(4510);
      expect(spared.socket.readyState).to.equal(1);
      await db.collection("away").drop();
    }
  });

  it("P5: connecting, then fetching, then applying what came since gives an exact copy", async () => {
    let writing = true;
    let next = 0;
    const writer = (async () => {
      while (writing) {
        await rig.items().insertOne({ _id: next++, group: "a", n: 0 });
        await rig.items().updateOne({ _id: Math.floor(next / 2) }, { $inc: { n: 1 } });
        if (next % 7 === 0) await rig.items().deleteOne({ _id: Math.floor(next / 3) });
      }
    })();
    const client = await rig.plain("?interfaces=items");
    await client.take(20);
    const page = (await (await fetch(`${rig.gateway.url}/api/items?limit=1000`)).json()) as { data: { id: number }[] };
    await client.take(20);
    writing = false;
    await writer;
    await rig.items().insertOne({ _id: 100_000, group: "a", n: 0 });
    await client.until(({ data }) => (data as { id?: unknown }).id === 100_000);
    const rows = new Map<number, unknown>(page.data.map((row) => [row.id, row]));
    for (const { operation, data } of client.received as Message[]) {
      if (operation === "delete") for (const id of data as number[]) rows.delete(id);
      else rows.set((data as { id: number }).id, data);
    }
    const wanted = await rig.items().find().sort({ _id: 1 }).toArray();
    expect([...rows.values()].sort((a, b) => (a as { id: number }).id - (b as { id: number }).id)).to.deep.equal(
      wanted.map(({ _id, group, n }) => ({ id: _id, group, n })),
    );
  });
});
