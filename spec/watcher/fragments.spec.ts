import { expect } from "chai";
import { Binary, BSON } from "mongodb";
import { createAssembler } from "../../src/watcher/fragments.js";
import { RawEvent } from "../../src/watcher/raw-event.js";
import { connectClient } from "../support/client.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway } from "../support/gateway.js";
import { freshDatabase, startOwnServer } from "../support/server.js";

const fragment = (n: number, of: number, more: object): RawEvent =>
  new RawEvent(
    BSON.serialize({ _id: { _data: `t${n}` }, ...(of > 1 ? { splitEvent: { fragment: n, of } } : {}), ...more }),
  );
const decoded = (event: RawEvent | undefined) => event && BSON.deserialize(event.bytes);

describe("split events", () => {
  it("are put together, with the token of the last fragment", () => {
    const { add } = createAssembler();
    expect(add(fragment(1, 3, { operationType: "update" }))).to.equal(undefined);
    expect(add(fragment(2, 3, { fullDocument: { a: 1 } }))).to.equal(undefined);
    expect(decoded(add(fragment(3, 3, { documentKey: { _id: 1 } })))).to.deep.equal({
      _id: { _data: "t3" },
      operationType: "update",
      fullDocument: { a: 1 },
      documentKey: { _id: 1 },
    });
  });

  it("are no place to resume from while a fragment is missing", () => {
    const assembler = createAssembler();
    assembler.add(fragment(1, 2, {}));
    expect(assembler.incomplete).to.equal(true);
    assembler.add(fragment(2, 2, {}));
    expect(assembler.incomplete).to.equal(false);
  });

  it("begin again where the stream was reopened between two fragments", () => {
    const assembler = createAssembler();
    assembler.add(fragment(1, 2, { stale: true }));
    assembler.reset();
    assembler.add(fragment(1, 2, { a: 1 }));
    const whole = decoded(assembler.add(fragment(2, 2, { b: 2 })));
    expect(whole).to.deep.include({ a: 1, b: 2 });
    expect(whole).to.not.have.property("stale");
  });

  it("leave whole events alone", () => {
    const event = fragment(1, 1, { operationType: "insert" });
    expect(createAssembler().add(event)).to.equal(event);
  });

  it("arrive once and whole although the stream fails between their fragments (hazard 7)", async () => {
    const server = await startOwnServer();
    const database = await freshDatabase(server);
    const items = database.db.collection<{ _id: number; data?: Binary; n?: number }>("items");
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    await items.insertOne({ _id: 1, data: new Binary(Buffer.alloc(10_000_000, 1)) });
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true, fields: ["n"] } },
    });
    const client = await connectClient(gateway.websocketUrl);
    // Each fragment is a batch of its own. The getMore that waits for the first is under way already, so the next to come
    // asks for the second.
    for (let n = 1; n <= 5; n++) {
      await failCommand(
        database.client,
        { times: 1 },
        { failCommands: ["getMore"], errorCode: 91, errorLabels: ["ResumableChangeStreamError"] },
      );
      await items.updateOne({ _id: 1 }, { $set: { data: new Binary(Buffer.alloc(10_000_000, n)), n } });
      expect(await client.next(60_000)).to.deep.equal({ interface: "items", operation: "update", data: { id: 1, n } });
    }
    expect(gateway.logged.filter((line) => line.msg === "change stream failed").length).to.be.greaterThan(0);
    expect(gateway.logged.filter((line) => line.msg === "interfaces reset")).to.deep.equal([]);
    await items.insertOne({ _id: 2, n: 9 });
    expect(await client.next(60_000)).to.deep.include({ data: { id: 2, n: 9 } });
    await client.close();
    await gateway.stop();
    await database.dispose();
    await server.dispose();
  }).timeout(180_000);
});
