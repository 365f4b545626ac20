import { expect } from "chai";
import { problemOf } from "../api/support.js";
import { connectClient, type TestClient } from "../support/client.js";
import { eventually } from "../support/eventually.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

const resumable = ["ResumableChangeStreamError"];

describe("the watcher's recovery", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let gateway: TestGateway;
  let client: TestClient;

  before(async () => {
    server = await startOwnServer();
  });
  after(() => server.dispose());
  beforeEach(async () => {
    database = await freshDatabase(server);
    gateway = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
    client = await connectClient(gateway.websocketUrl);
  });
  afterEach(async () => {
    await failCommand(database.client, "off", undefined);
    await client.close();
    await gateway.stop();
    await database.dispose();
  });

  const insert = (id: number) => database.db.collection<{ _id: number }>("items").insertOne({ _id: id });
  const idsOf = (messages: readonly Record<string, unknown>[]) =>
    messages.map((message) => (message.data as { id: unknown }).id);

  async function failures(): Promise<string> {
    const { url } = gateway;
    const text = await (await fetch(`${url}/metrics`)).text();
    return text
      .split("\n")
      .filter((line) => line.startsWith("tailgate_stream_failures_total{"))
      .join("\n");
  }

  it("survives a getMore that fails and five openings that fail after it (hazard 1)", async () => {
    await insert(1);
    await client.next();
    await failCommand(
      database.client,
      { times: 6 },
      { failCommands: ["getMore", "aggregate"], errorCode: 91, errorLabels: resumable },
    );
    await insert(2);
    await insert(3);
    expect(idsOf(await client.take(2, 60_000))).to.deep.equal([2, 3]);
    expect(await failures()).to.match(/recovery="resume"\} [3-9]/);
  }).timeout(90_000);

  for (const [code, labels, recovery] of [
    [6, resumable, "resume"],
    [43, [], "resume"],
    [50, resumable, "shrink"],
  ] as const) {
    it(`resumes without loss after code ${code}${labels.length > 0 ? " with its label" : ""} (hazards 2 and 15)`, async () => {
      await insert(1);
      await client.next();
      await failCommand(
        database.client,
        { times: 2 },
        { failCommands: ["getMore"], errorCode: code, errorLabels: [...labels] },
      );
      await gatewayTrouble();
      await insert(2);
      await insert(3);
      expect(idsOf(await client.take(2, 30_000))).to.deep.equal([2, 3]);
      expect(await failures()).to.contain(`recovery="${recovery}"`);
    }).timeout(60_000);
  }

  it("retries slowly what time alone may not mend, is not ready meanwhile, and loses nothing (hazard 2)", async () => {
    await failCommand(database.client, { times: 1 }, { failCommands: ["getMore"], errorCode: 6, errorLabels: [] });
    await gatewayTrouble();
    const ready = await fetch(`${gateway.url}/readyz`);
    const { status, code, reasons } = await problemOf(ready);
    expect([status, code]).to.deep.equal([503, "not-ready"]);
    expect((reasons as string[])[0]).to.contain("change stream failed");
    await insert(1);
    expect(idsOf(await client.take(1, 30_000))).to.deep.equal([1]);
    expect((await fetch(`${gateway.url}/readyz`)).status).to.equal(200);
  }).timeout(60_000);

  for (const code of [260, 280, 286, 10334]) {
    it(`begins a new epoch after code ${code}: plain connections are closed once with 4510, and later changes follow (hazard 6)`, async () => {
      await insert(1);
      await client.next();
      await failCommand(database.client, { times: 1 }, { failCommands: ["getMore"], errorCode: code });
      expect((await client.closed).code).to.equal(4510);
      const again = await connectClient(gateway.websocketUrl);
      await insert(2);
      expect(idsOf(await again.take(1))).to.deep.equal([2]);
      expect(gateway.logged.filter((line) => line.msg === "interfaces reset")).to.have.length(1);
      await again.close();
    }).timeout(60_000);
  }

  it("begins a new epoch where the very first event is too large to be sent, rather than meeting it again and again", async () => {
    // Until a token is relied on, the stream stands where it began. Its place moves when idle tokens come.
    const seconds = async (): Promise<number> => Number.parseInt((await positionNow()).slice(0, 8), 16);
    const began = await seconds();
    await eventually(async () => (await seconds()) - began > 5, 20_000);
    const bsonObjectTooLarge = 10334;
    await failCommand(database.client, { times: 1 }, { failCommands: ["getMore"], errorCode: bsonObjectTooLarge });
    expect((await client.closed).code).to.equal(4510);
    expect(gateway.logged.filter((line) => line.msg === "interfaces reset")).to.have.length(1);
  }).timeout(60_000);

  /** Waits until the fail point was met: readiness says so. */
  async function gatewayTrouble(): Promise<void> {
    const deadline = performance.now() + 20_000;
    while (!gateway.logged.some((line) => line.msg === "change stream failed")) {
      if (performance.now() > deadline) throw new Error("the stream never failed");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  for (const command of ["hello", "buildInfo", "listCollections", "aggregate"]) {
    it(`starts although a connection breaks at that moment, in ${command}`, async () => {
      const tag = (await positionNow()).slice(24);
      await gateway.stop();
      await failCommand(database.client, { times: 1 }, { failCommands: [command], closeConnection: true });
      gateway = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
      expect((await positionNow()).slice(24), "the database's identity").to.equal(tag);
    });
  }

  it("starts although the server is about to stop at that moment, and remembers what database it is", async () => {
    const tag = (await positionNow()).slice(24);
    await gateway.stop();
    const interruptedAtShutdown = 11600;
    // The driver tries once more by itself.
    await failCommand(
      database.client,
      { times: 2 },
      { failCommands: ["listCollections"], errorCode: interruptedAtShutdown },
    );
    gateway = await startTestGateway({ mongo: database.uri, interfaces: { items: { read: true } } });
    expect((await positionNow()).slice(24), "the database's identity").to.equal(tag);
  });

  async function positionNow(): Promise<string> {
    return ((await (await fetch(`${gateway.url}/api/items`)).json()) as { position: string }).position;
  }
});
