import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy } from "../support/proxy.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

type Item = { _id: number | string; n?: number; text?: string };

describe("the watcher and its database", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway | undefined;
  let client: TestClient | undefined;

  const items = () => database.db.collection<Item>("items");
  const open = async (mongo = database.uri): Promise<TestClient> => {
    gateway = await startTestGateway({ mongo, interfaces: { items: { read: true }, others: { read: true } } });
    client = await connectClient(gateway.websocketUrl);
    return client;
  };
  const opened = (): TestGateway => gateway as TestGateway;

  describe("that is killed, frozen or cut off", () => {
    before(async () => {
      server = await startOwnServer();
    });
    after(() => server.dispose());
    beforeEach(async () => {
      database = await freshDatabase(server);
    });
    afterEach(async () => {
      await client?.close();
      await gateway?.stop();
      await database.dispose();
    });

    it("is followed again after each of three kill -9 under load, without loss, and clients stay connected", async () => {
      const connection = await open();
      const acknowledged: number[] = [];
      let writing = true;
      let next = 0;
      const writer = (async () => {
        while (writing) {
          const _id = next++;
          try {
            await items().insertOne({ _id });
            acknowledged.push(_id);
          } catch {
            // What was not acknowledged may or may not be there: nothing is promised of it.
          }
        }
      })();
      for (let kills = 0; kills < 3; kills++) {
        const before = acknowledged.length;
        while (acknowledged.length < before + 50) await new Promise((resolve) => setTimeout(resolve, 10));
        await server.restart();
      }
      const beforeLast = acknowledged.length;
      while (acknowledged.length < beforeLast + 20) await new Promise((resolve) => setTimeout(resolve, 10));
      writing = false;
      await writer;
      await items().insertOne({ _id: "last" });
      const messages = await connection.until((message) => (message.data as { id?: unknown }).id === "last", 60_000);
      const received = messages.map((message) => (message.data as { id: number }).id);
      expect(received, "each once").to.have.length(new Set(received).size);
      const missing = acknowledged.filter((id) => !received.includes(id));
      expect(missing, "acknowledged but never received").to.deep.equal([]);
      expect(
        [...received.slice(0, -1)].sort((a, b) => a - b),
        "in order",
      ).to.deep.equal(received.slice(0, -1));
    }).timeout(120_000);

    it("is taken for dead when nothing comes, not even an empty batch (hazard 4)", async () => {
      const proxy = await startProxy({ port: server.port });
      const connection = await open(
        `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
      );
      await items().insertOne({ _id: 1 });
      await connection.next();
      proxy.blackhole();
      await items().insertOne({ _id: 2 });
      const deadline = performance.now() + 30_000;
      while ((await fetch(`${opened().url}/readyz`)).status === 200) {
        if (performance.now() > deadline) throw new Error("still ready without a database");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      proxy.heal();
      proxy.cut();
      expect(await connection.next(60_000)).to.deep.equal({ interface: "items", operation: "insert", data: { id: 2 } });
      await gateway?.stop();
      await proxy.close();
    }).timeout(120_000);

    it("may cut the connection at any moment (hazard 2)", async () => {
      const proxy = await startProxy({ port: server.port });
      const connection = await open(
        `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
      );
      for (let round = 1; round <= 5; round++) {
        await items().insertOne({ _id: round });
        expect(await connection.next(30_000)).to.deep.include({ data: { id: round } });
        proxy.cut();
      }
      await gateway?.stop();
      await proxy.close();
    }).timeout(120_000);

    it("may take longer to open the stream than any other answer is waited for", async () => {
      await failCommand(database.client, "alwaysOn", {
        failCommands: ["aggregate"],
        blockConnection: true,
        blockTimeMS: 4_000,
      });
      const connection = await open(`${database.uri}&socketTimeoutMS=3000`).finally(() =>
        failCommand(database.client, "off", undefined),
      );
      await items().insertOne({ _id: 1 });
      expect(await connection.next()).to.deep.include({ data: { id: 1 } });
      expect(opened().logged.filter((line) => line.msg === "change stream failed")).to.deep.equal([]);
    }).timeout(60_000);

    it("may have its getMore killed (hazard 3)", async () => {
      const connection = await open();
      const admin = database.client.db("admin");
      const { inprog } = (await admin.command({ currentOp: 1 }).catch(() => ({ inprog: [] }))) as {
        inprog: { opid: unknown; command?: { getMore?: unknown } }[];
      };
      for (const { opid, command } of inprog)
        if (command?.getMore !== undefined) await admin.command({ killOp: 1, op: opid });
      await items().insertOne({ _id: 1 });
      expect(await connection.next(30_000)).to.deep.include({ data: { id: 1 } });
    }).timeout(60_000);

    it("may look a document up that is already gone: it leaves now (hazard 10)", async () => {
      const connection = await open();
      await items().insertOne({ _id: "x", n: 0 });
      await connection.next();
      await items().insertOne({ _id: "stays", n: 0 });
      await connection.next();
      // Everything is written before the stream can be read: each update is looked up when the document is gone.
      await server.kill("SIGSTOP");
      const writes = Promise.all([
        items().bulkWrite([
          { updateOne: { filter: { _id: "x" }, update: { $set: { n: 1 } } } },
          { updateOne: { filter: { _id: "x" }, update: { $set: { n: 2 } } } },
          { updateOne: { filter: { _id: "x" }, update: { $set: { n: 3 } } } },
          { deleteOne: { filter: { _id: "x" } } },
          { updateOne: { filter: { _id: "stays" }, update: { $set: { n: 1 } } } },
        ]),
      ]);
      await server.kill("SIGCONT");
      await writes;
      const messages = await connection.until((message) => (message.data as { id?: string }).id === "stays", 30_000);
      // Once for all that come in one batch of the stream, and again where another brings the delete itself.
      const deletes = messages.filter(({ operation }) => operation === "delete");
      expect(deletes).to.have.lengthOf.at.least(1);
      for (const message of deletes)
        expect(message).to.deep.equal({ interface: "items", operation: "delete", data: ["x"] });
      expect(messages.at(-1)).to.deep.equal({ interface: "items", operation: "update", data: { id: "stays", n: 1 } });
    }).timeout(60_000);
  });

  describe("whose oplog is small", () => {
    before(async () => {
      server = await startOwnServer(["--oplog-max-entries", "300"]);
    });
    after(() => server.dispose());
    beforeEach(async () => {
      database = await freshDatabase(server);
    });
    afterEach(async () => {
      await client?.close();
      await gateway?.stop();
      await database.dispose();
    });

    it("is resumed although only others wrote since the last event (hazard 5)", async () => {
      const connection = await open();
      await items().insertOne({ _id: 1 });
      await connection.next();
      const busy = database.db.collection("not_configured");
      for (let round = 0; round < 8; round++) {
        await busy.insertMany(Array.from({ length: 100 }, (_, n) => ({ n })));
        await new Promise((resolve) => setTimeout(resolve, 400));
      }
      await server.restart();
      await items().insertOne({ _id: 2 });
      expect(await connection.next(60_000)).to.deep.include({ data: { id: 2 } });
      expect(opened().logged.some((line) => line.msg === "interfaces reset")).to.equal(false);
    }).timeout(120_000);

    for (const isQuiet of [false, true])
      it(`makes it reset every view once when the history was really lost (hazard 6)${isQuiet ? ", though nothing had come yet" : ""}`, async () => {
        const proxy = await startProxy({ port: server.port });
        const connection = await open(
          `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
        );
        if (isQuiet) {
          // Until the place of an idle stream is relied on.
          await new Promise((resolve) => setTimeout(resolve, 8_000));
        } else {
          await items().insertOne({ _id: 1 });
          await connection.next();
        }
        proxy.blackhole();
        for (let round = 0; round < 10; round++) {
          await items().insertMany(Array.from({ length: 200 }, (_, n) => ({ _id: `${round}/${n}` })));
        }
        proxy.heal();
        proxy.cut();
        expect((await connection.closed).code).to.equal(4510);
        const again = await connectClient(opened().websocketUrl);
        await items().insertOne({ _id: 2 });
        expect(await again.next(30_000)).to.deep.include({ data: { id: 2 } });
        expect(opened().logged.filter((line) => line.msg === "interfaces reset")).to.have.length(1);
        await again.close();
        await gateway?.stop();
        await proxy.close();
      }).timeout(120_000);
  });
});
