import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { MongoClient } from "mongodb";
import { isRunning } from "../../replica-set/process.mjs";
import { ensureSecantus, startSecantus } from "../../replica-set/secantus.mjs";

describe("a SecantusDB of a spec's own", function () {
  this.timeout(60_000);
  let directory: string;

  before(async function () {
    this.timeout(600_000);
    await ensureSecantus();
  });

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "secantus-spec-"));
  });

  afterEach(() => rm(directory, { recursive: true, force: true }));

  it("answers on a free port when it is there, and keeps port and data over a restart", async () => {
    const server = await startSecantus({ storagePath: join(directory, "data") });
    const { port, pid } = server;
    const client = new MongoClient(server.uri("shop"));
    try {
      await client.db().collection("notes").insertOne({ text: "kept" });
      await server.restart();
      expect(server.port).to.equal(port);
      expect(server.pid).to.not.equal(pid);
      expect(await client.db().collection("notes").countDocuments({ text: "kept" })).to.equal(1);
    } finally {
      await client.close();
      await server.kill();
    }
    expect(await isRunning(server.pid)).to.equal(false);
    await server.stop();
  });

  it("takes further flags, of which the last one counts", async () => {
    const flags = ["--enable-test-commands"];
    const server = await startSecantus({ storagePath: join(directory, "data"), flags });
    const client = new MongoClient(server.uri());
    try {
      const answer = await client.db("admin").command({ configureFailPoint: "failCommand", mode: "off" });
      expect(answer.ok).to.equal(1);
    } finally {
      await client.close();
      await server.kill();
    }
  });

  it("gives the end of the log where the server does not start", async () => {
    const server = await startSecantus({ storagePath: join(directory, "data") });
    try {
      const other = startSecantus({ storagePath: join(directory, "other"), port: server.port });
      const error: unknown = await other.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).to.be.instanceOf(Error).with.property("message").that.includes("did not start");
    } finally {
      await server.kill();
    }
  });

  it("ends with the process that started it", async () => {
    const module = JSON.stringify(new URL("../../replica-set/secantus.mjs", import.meta.url).href);
    const options = JSON.stringify({ storagePath: join(directory, "data") });
    const code = `const s = await (await import(${module})).startSecantus(${options}); console.log(s.pid); process.exit();`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", code]);
    let output = "";
    child.stdout.on("data", (text: Buffer) => {
      output += text.toString();
    });
    await once(child, "close");
    const pid = Number(output);
    expect(pid).to.be.above(0);
    // A killed process takes a moment to be gone.
    const deadline = performance.now() + 10_000;
    while ((await isRunning(pid)) && performance.now() < deadline) await sleep(20);
    const left = await isRunning(pid);
    if (left) process.kill(pid, "SIGKILL");
    expect(left).to.equal(false);
  });
});
