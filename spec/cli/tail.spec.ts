import { once } from "node:events";
import { expect } from "chai";
import { runCommand, startTestGateway, type TestCommand, type TestGateway } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

describe("tailgate tail", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  const running: TestCommand[] = [];

  const start = (port: number): Promise<TestGateway> =>
    startTestGateway({ mongo: database.uri, port, interfaces: { jobs: { read: true }, samples: { read: true } } });

  before(async () => {
    database = await freshDatabase();
    // Not 0: a port that the system chose can't be taken again while connections of before linger on it.
    gateway = await start(await freePort());
  });
  afterEach(async () => {
    for (const command of running.splice(0)) {
      command.kill("SIGKILL");
      await command.exit;
    }
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  function tail(args: string[], environment: Record<string, string> = {}): TestCommand {
    const command = runCommand(["tail", ...args], environment);
    running.push(command);
    return command;
  }

  function following(...names: string[]): TestCommand {
    return tail([...names, "--url", gateway.websocketUrl]);
  }

  const insert = (collection: string, document: Record<string, unknown>): Promise<unknown> =>
    database.db.collection(collection).insertOne(document);

  it("prints the messages of its interfaces, one JSON line each, and ends with 0 on Ctrl-C", async () => {
    const command = tail(["jobs"], { PORT: String(gateway.gateway.port) });
    await command.line(/connected to/);
    await insert("samples", { state: "not asked for" });
    await insert("jobs", { state: "multi\nline" });
    await insert("jobs", { state: "last" });
    await command.line(/"last"/);
    command.kill("SIGINT");
    expect(await command.exit).to.equal(0);
    const lines = command.output().trim().split("\n");
    expect(lines.map((line) => JSON.parse(line).data.state)).to.deep.equal(["multi\nline", "last"]);
    expect(Object.keys(JSON.parse(lines[0] ?? ""))).to.deep.equal(["interface", "operation", "data"]);
  });

  it("ends quietly with 0 when its reader has gone, as head does", async () => {
    const command = following("jobs");
    await command.line(/connected to/);
    await insert("jobs", { state: "first" });
    await command.line(/"first"/);
    command.child.stdout?.destroy();
    await insert("jobs", { state: "second" });
    expect(await command.exit).to.equal(0);
    expect(command.errors()).to.match(/^tailgate: connected to [^\n]*\n$/);
  });

  it("can be interrupted while its reader is not reading", async () => {
    const command = following("jobs");
    await command.line(/connected to/);
    command.child.stdout?.pause();
    // Until more waits for it than the gateway allows: what tail can't print it leaves on the wire.
    const filling = "x".repeat(10_000);
    while (!gateway.logged.some(({ code }) => code === 4508)) {
      await database.db.collection("jobs").insertMany(Array.from({ length: 200 }, () => ({ filling })));
    }
    const exit = once(command.child, "exit", { signal: AbortSignal.timeout(5_000) });
    command.kill("SIGINT");
    expect(await exit).to.deep.equal([0, null]);
    command.child.stdout?.resume();
  });

  it("ends with 1 and the reason when the gateway refuses what it asks for", async () => {
    const unknown = following("jbos");
    const token = tail(["jobs", "--url", gateway.websocketUrl, "--token", "x.y.z"]);
    expect(await unknown.exit).to.equal(1);
    expect(unknown.errors()).to.match(/refuses: 4400: .*jbos/);
    expect(await token.exit).to.equal(1);
    expect(token.errors()).to.contain("refuses: 4401");
  });

  it("prints the snapshot and the changes of what matches a filter, and goes on from a position", async () => {
    await insert("jobs", { state: "filtered", n: 1 });
    const command = tail(["jobs", "--url", gateway.websocketUrl, "--filter", '{"state":"filtered"}']);
    await command.line(/"type":"snapshot".*"filtered"/);
    // Its first line is out, so the subscription is there.
    await insert("jobs", { state: "other" });
    await insert("jobs", { state: "filtered", n: 2 });
    const first = JSON.parse(await command.line(/"operation":"insert"/)) as { data: { n: number }; position: string };
    expect(first.data.n).to.equal(2);
    await insert("jobs", { state: "filtered", n: 3 });
    await command.line(/"n":3/);
    command.kill("SIGINT");
    expect(await command.exit).to.equal(0);
    const again = tail(["jobs", "--url", gateway.websocketUrl, "--since", first.position]);
    await again.line(/"n":3/);
    expect(again.output()).to.not.contain('"n":2');
  }).timeout(40_000);

  it("ends with 1 when no gateway is there, and with 2 for a filter that is no JSON object", async () => {
    const nobody = tail(["jobs", "--url", "ws://127.0.0.1:1/ws"]);
    const elsewhere = tail(["jobs", "--url", `${gateway.websocketUrl}/elsewhere`]);
    const filter = tail(["jobs", "--filter", "state=running"]);
    expect(await filter.exit).to.equal(2);
    expect(await elsewhere.exit).to.equal(1);
    expect(elsewhere.errors()).to.contain("no websocket at");
    expect(await nobody.exit).to.equal(1);
    expect(nobody.errors()).to.contain("no gateway answers at ws://127.0.0.1:1/ws: connect ECONNREFUSED");
  });

  it("fetches again after a reset, and says that changes may have been missed", async () => {
    await insert("samples", { state: "before" });
    const command = following("samples");
    await command.line(/connected to/);
    await database.db.collection("samples").drop();
    await command.line(/connection closed \(4510: .*missed/);
    await seenTwice(command, /connected to/);
    await insert("samples", { state: "after" });
    await command.line(/"after"/);
  });

  it("comes back to a gateway that was restarted", async () => {
    const command = following("jobs");
    await command.line(/connected to/);
    const { port } = gateway.gateway;
    await gateway.stop();
    await command.line(/connection closed \(1001: /);
    gateway = await start(port);
    await seenTwice(command, /connected to/);
    await insert("jobs", { state: "after the restart" });
    await command.line(/"after the restart"/);
  }).timeout(60_000);
});

async function seenTwice(command: TestCommand, pattern: RegExp): Promise<void> {
  const twice = new RegExp(`(${pattern.source}[^]*){2}`);
  while (!twice.test(command.errors())) {
    if (command.child.exitCode !== null) throw new Error(`ended: ${command.errors()}`);
    await new Promise((resolve) => command.child.stderr?.once("data", resolve));
  }
}
