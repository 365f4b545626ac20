import { expect } from "chai";
import { MongoClient } from "mongodb";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import {
  createFollower,
  freshDatabase,
  givenUri,
  type OwnServer,
  type SpecDatabase,
  startOwnServer,
} from "../support/server.js";
import { type Subscriber, subscribe } from "../support/subscriber.js";

type Item = { _id: number; group: string };

describe("a gateway whose user may find and follow, but not list collections", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let writer: MongoClient;
  let gateway: TestGateway;
  let subscriber: Subscriber | undefined;

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
    database = await freshDatabase(server);
    await database.db.collection<Item>("items").insertMany([
      { _id: 1, group: "a" },
      { _id: 2, group: "b" },
    ]);
    await createFollower(database);
    await database.client.db("admin").command({ createUser: "writer", pwd: "writer-password", roles: ["root"] });
    await database.client.close();
    await server.restart(["--auth"]);
    const uriOf = (user: string): string =>
      database.uri.replace("mongodb://", `mongodb://${user}:${user}-password@`).concat("&authSource=admin");
    writer = await new MongoClient(uriOf("writer")).connect();
    gateway = await startTestGateway({ mongo: uriOf("follower"), interfaces: { items: { read: true } } });
  });
  after(async () => {
    if (givenUri) return;
    await subscriber?.close();
    await gateway.stop();
    await writer.close();
    await server.dispose();
  });

  it("serves a filtered view by the ids that it has shown", async () => {
    const copy = await subscribe(gateway.websocketUrl, { interface: "items", filter: { group: "a" } });
    subscriber = copy;
    await copy.ready();
    expect([...copy.rows.keys()]).to.deep.equal(["1"]);
    const items = writer.db(database.db.databaseName).collection<Item>("items");
    await items.updateOne({ _id: 2 }, { $set: { group: "a" } });
    await copy.until((rows) => rows.has("2"));
    await items.updateOne({ _id: 1 }, { $set: { group: "b" } });
    await copy.until((rows) => !rows.has("1"));
    expect(copy.faults).to.deep.equal([]);
  });
});
