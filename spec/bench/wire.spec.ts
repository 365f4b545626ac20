import { expect } from "chai";
import { BSON, type Document, MongoClient } from "mongodb";
import { CommandReader, commandName, startCountingProxy } from "../../bench/wire.js";
import { freshUri } from "../support/server.js";

describe("The counting proxy of the benchmarks", () => {
  const commands: Document[] = [{ find: "items", filter: {} }, { getMore: 1, collection: "items" }, { ping: 1 }];
  const bytes = Buffer.concat([message(2004, Buffer.alloc(40)), ...commands.map((each) => opMsg(each))]);

  it("reads commands wherever the bytes are cut in two, and steps over older messages", () => {
    for (let cut = 0; cut <= bytes.length; cut++) {
      const seen: string[] = [];
      const reader = new CommandReader((command) => seen.push(commandName(command)));
      reader.feed(bytes.subarray(0, cut));
      reader.feed(bytes.subarray(cut));
      expect(seen, `cut at ${cut}`).to.deep.equal(["find items", "getMore", "ping"]);
    }
  });

  it("tells a change stream from other aggregations", () => {
    expect(commandName({ aggregate: 1, pipeline: [{ $changeStream: {} }] })).to.equal("$changeStream");
    expect(commandName({ aggregate: "items", pipeline: [{ $match: {} }] })).to.equal("aggregate items");
  });

  it("counts what a driver sends through it", async () => {
    const proxy = await startCountingProxy(await freshUri());
    const client = await new MongoClient(proxy.uri).connect();
    try {
      await client.db().collection("items").insertOne({ name: "first" });
      proxy.counts();
      const items = client.db().collection("items");
      expect(await items.find().toArray()).to.have.length(1);
      await items.findOne({ name: "first" });
      await client.db().listCollections({ name: "items" }).toArray();
      await items.aggregate([{ $match: {} }]).toArray();
      expect(proxy.counts()).to.include({ "find items": 2, listCollections: 1, "aggregate items": 1 });
      expect(proxy.counts()).not.to.have.any.keys("find items", "aggregate items");
    } finally {
      await client.close();
      await proxy.stop();
    }
  });

  it("refuses a URI of several hosts, where a driver would choose another one", async () => {
    const refusal = await startCountingProxy("mongodb://a:1,b:2/test").catch((error: Error) => error.message);
    expect(refusal).to.contain("one host");
  });
});

function opMsg(body: Document): Buffer {
  return message(2013, Buffer.concat([Buffer.alloc(5), BSON.serialize(body)]));
}

function message(opcode: number, content: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeInt32LE(16 + content.length, 0);
  header.writeInt32LE(opcode, 12);
  return Buffer.concat([header, content]);
}
