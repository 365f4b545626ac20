import { expect } from "chai";
import { rememberedIds } from "../../src/dispatcher/told.js";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

type Note = { _id: number; public?: boolean; text?: string };

for (const images of [true, false]) {
  describe(`a read rule that is a filter, with pre-images ${images ? "on" : "off"}`, () => {
    let database: SpecDatabase;
    let gateway: TestGateway;
    let client: TestClient;
    const notes = () => database.db.collection<Note>("notes");
    /**
     * Everything that came until now. Deletes of one interface may come after a later message of another one, within a
     * batch: the second of the other interface is surely after them.
     */
    async function received(): Promise<Record<string, unknown>[]> {
      const messages: Record<string, unknown>[] = [];
      for (const _id of [1, 2]) {
        await database.db.collection<{ _id: number }>("ends").insertOne({ _id });
        messages.push(
          ...(await client.until(
            ({ interface: name, data }) => name === "ends" && (data as Note & { id: number }).id === _id,
          )),
        );
      }
      return messages.filter((message) => message.interface !== "ends");
    }

    beforeEach(async () => {
      database = await freshDatabase();
      await database.db.createCollection("notes", { changeStreamPreAndPostImages: { enabled: images } });
      await notes().insertMany([
        { _id: 1, public: true, text: "seen" },
        { _id: 2, public: false, text: "canary" },
      ]);
      gateway = await startTestGateway({
        mongo: database.uri,
        interfaces: { notes: { read: { public: true }, fields: ["text"] }, ends: { read: true } },
      });
      client = await connectClient(gateway.websocketUrl);
    });
    afterEach(async () => {
      await client.close();
      await gateway.stop();
      await database.dispose();
    });

    it("lets documents in, change and out: insert, update, delete (hazard 32)", async () => {
      await notes().insertOne({ _id: 3, public: true, text: "a" });
      await client.next();
      await notes().updateOne({ _id: 3 }, { $set: { text: "b" } });
      await client.next();
      await notes().updateOne({ _id: 3 }, { $set: { public: false, text: "canary" } });
      await client.next();
      await notes().updateOne({ _id: 3 }, { $set: { public: true, text: "c" } });
      await client.next();
      await notes().deleteOne({ _id: 3 });
      await received();
      expect(client.received.filter((message) => message.interface === "notes")).to.deep.equal([
        { interface: "notes", operation: "insert", data: { id: 3, text: "a" } },
        { interface: "notes", operation: "update", data: { id: 3, text: "b" } },
        { interface: "notes", operation: "delete", data: [3] },
        { interface: "notes", operation: "insert", data: { id: 3, text: "c" } },
        { interface: "notes", operation: "delete", data: [3] },
      ]);
    });

    it("tells nothing of documents outside it, nor their ids (hazard 33)", async () => {
      await notes().insertOne({ _id: 4, public: false, text: "canary" });
      await notes().updateOne({ _id: 4 }, { $set: { text: "canary 2" } });
      await notes().deleteOne({ _id: 4 });
      await notes().deleteOne({ _id: 2 });
      expect(await received()).to.deep.equal([]);
      expect(JSON.stringify(client.received)).to.not.contain("canary");
    });

    it("knows the documents that were there before the connection", async () => {
      await notes().deleteMany({});
      expect(await received()).to.deep.equal([{ interface: "notes", operation: "delete", data: [1] }]);
    });

    it("holds for the API as well", async () => {
      const list = (await (await fetch(`${gateway.url}/api/notes`)).json()) as { data: unknown };
      expect(list.data).to.deep.equal([{ id: 1, text: "seen" }]);
      expect((await fetch(`${gateway.url}/api/notes/1`)).status).to.equal(200);
      expect((await fetch(`${gateway.url}/api/notes/2`)).status).to.equal(404);
    });

    it("holds for messages of the application's own", async () => {
      gateway.gateway.dispatch("notes", "update", { _id: 9, public: false, text: "canary" });
      gateway.gateway.dispatch("notes", "delete", [2]);
      gateway.gateway.dispatch("notes", "update", { _id: 8, public: true, text: "ours" });
      expect(await client.next()).to.deep.equal({
        interface: "notes",
        operation: "update",
        data: { id: 8, text: "ours" },
      });
      expect(await received()).to.deep.equal([]);
    });

    it("lets the application remove what it told of, and nothing else", async () => {
      const { dispatch } = gateway.gateway;
      dispatch("notes", "insert", { _id: "ours", public: true, text: "a" });
      dispatch("notes", "insert", { _id: "canary", public: false, text: "b" });
      dispatch("notes", "update", { _id: "ours", public: false, text: "canary" });
      dispatch("notes", "delete", ["canary", "ours", "never told", 2]);
      dispatch("notes", "delete", ["ours"]);
      expect(await received()).to.deep.equal([
        { interface: "notes", operation: "insert", data: { id: "ours", text: "a" } },
        { interface: "notes", operation: "delete", data: ["ours"] },
      ]);
    });

    it("remembers the newest of what the application told of", async () => {
      const { dispatch } = gateway.gateway;
      for (let n = 0; n <= rememberedIds; n++) dispatch("notes", "insert", { _id: `n${n}`, public: true });
      dispatch("notes", "delete", ["n0"]);
      dispatch("notes", "delete", ["n1", `n${rememberedIds}`]);
      const [last] = (await received()).slice(-1);
      expect(client.received.filter(({ operation }) => operation === "delete")).to.deep.equal([last]);
      expect(last?.data).to.deep.equal(["n1", `n${rememberedIds}`]);
    });

    if (images) {
      it("starts its connections again when an image is missing, and then does without images", async () => {
        await database.db.command({ collMod: "notes", changeStreamPreAndPostImages: { enabled: false } });
        await notes().updateOne({ _id: 1 }, { $set: { text: "changed" } });
        expect((await client.closed).code).to.equal(4510);
        client = await connectClient(gateway.websocketUrl);
        await notes().updateOne({ _id: 1 }, { $set: { text: "again" } });
        expect(await client.next()).to.deep.include({ operation: "update", data: { id: 1, text: "again" } });
        await notes().deleteMany({});
        expect(await received()).to.deep.equal([{ interface: "notes", operation: "delete", data: [1] }]);
      });
    }
  });
}
