import { expect } from "chai";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

describe("a plain connection", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let client: TestClient;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        jobs: { read: true, fields: ["state", "user.name"] },
        samples: { read: true },
        hidden: {},
      },
    });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });
  beforeEach(async () => {
    client = await connectClient(gateway.websocketUrl);
  });
  afterEach(() => client.close());

  it("gets an insert, an update and a delete made by another program, as exactly three members", async () => {
    const jobs = database.db.collection<{ _id: string; state: string }>("jobs");
    await jobs.insertOne({ _id: "a", state: "waiting" });
    expect(await client.next()).to.deep.equal({
      interface: "jobs",
      operation: "insert",
      data: { id: "a", state: "waiting" },
    });
    await jobs.updateOne({ _id: "a" }, { $set: { state: "running" } });
    expect(await client.next()).to.deep.equal({
      interface: "jobs",
      operation: "update",
      data: { id: "a", state: "running" },
    });
    await jobs.deleteOne({ _id: "a" });
    expect(await client.next()).to.deep.equal({ interface: "jobs", operation: "delete", data: ["a"] });
  });
});
