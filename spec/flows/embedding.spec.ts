import { expect } from "chai";
import type { RequestError } from "../../src/errors.js";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

describe("an application that embeds the gateway", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let client: TestClient;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        jobs: { read: (user) => user === null, representation: ({ a }) => ({ doubled: (a as number) * 2 }) },
        secrets: { read: () => false },
        fragile: {
          read: true,
          representation: ({ text }) => ({ size: (text as string).length }),
        },
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

  it("shows what its representation makes of a document, and says nothing where that did not change", async () => {
    const jobs = database.db.collection<{ _id: number; a: number; b?: number }>("jobs");
    await database.db.createCollection("jobs", { changeStreamPreAndPostImages: { enabled: true } });
    await jobs.insertOne({ _id: 1, a: 2 });
    await jobs.updateOne({ _id: 1 }, { $set: { b: 1 } });
    await jobs.insertOne({ _id: 2, a: 0 });
    const doubled = (value: number) => client.until(({ data }) => (data as { doubled: number }).doubled === value);
    // SecantusDB may show an update as the document was later.
    const messages = await doubled(0);
    await jobs.updateOne({ _id: 1 }, { $set: { a: 3 } });
    messages.push(...(await doubled(6)));
    expect(messages).to.deep.equal([
      { interface: "jobs", operation: "insert", data: { id: 1, doubled: 4 } },
      { interface: "jobs", operation: "insert", data: { id: 2, doubled: 0 } },
      { interface: "jobs", operation: "update", data: { id: 1, doubled: 6 } },
    ]);
  });

  it("loses only the documents that its representation fails on, and can see how many", async () => {
    const fragile = database.db.collection<{ _id: number; text?: string }>("fragile");
    await fragile.insertOne({ _id: 1 });
    await fragile.insertOne({ _id: 2, text: "abc" });
    expect(await client.next()).to.deep.equal({ interface: "fragile", operation: "insert", data: { id: 2, size: 3 } });
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).to.contain('tailgate_quarantined_documents_total{interface="fragile"} 1');
  });

  it("dispatches messages of its own to those who may read the interface", async () => {
    gateway.gateway.dispatch("jobs", "update", { _id: 5, a: 1, hidden: true });
    gateway.gateway.dispatch("secrets", "insert", { _id: 6 });
    gateway.gateway.dispatch("jobs", "delete", ["x", 7]);
    expect(await client.take(2)).to.deep.equal([
      { interface: "jobs", operation: "update", data: { id: 5, doubled: 2 } },
      { interface: "jobs", operation: "delete", data: ["x", 7] },
    ]);
  });

  it("is told what is wrong with a message of its own", () => {
    const code = (act: () => void): string => {
      try {
        act();
      } catch (error) {
        return (error as RequestError).code;
      }
      return "none";
    };
    const { dispatch } = gateway.gateway;
    expect(code(() => dispatch("nope", "update", { _id: 1 }))).to.equal("unknown-interface");
    expect(code(() => dispatch("jobs", "delete", { _id: 1 }))).to.equal("bad-data");
    expect(code(() => dispatch("jobs", "update", { a: 1 }))).to.equal("bad-data");
    expect(code(() => dispatch("jobs", "upsert" as "update", { _id: 1 }))).to.equal("bad-operation");
  });

  it("adds routes of its own, which come after the gateway's", async () => {
    gateway.gateway.router.get("/hello/:name", (context) => {
      context.body = { hello: context.params.name };
    });
    gateway.gateway.router.get("/livez", (context) => {
      context.body = "mine";
    });
    expect(await (await fetch(`${gateway.url}/hello/world`)).json()).to.deep.equal({ hello: "world" });
    expect(await (await fetch(`${gateway.url}/livez`)).text()).to.not.equal("mine");
  });

  it("runs functions in threads and processes, and has the shared client and the driver's database", async () => {
    const { gateway: app } = gateway;
    expect(await app.runInThread((a: number, b: number) => a + b, 1, 2)).to.equal(3);
    expect(await app.runInProcess((text: string) => `${text} ${process.pid}`, "pid")).to.match(/^pid \d+$/);
    expect(app.http.get).to.be.a("function");
    expect(app.db.databaseName).to.equal(database.db.databaseName);
  });
});
