import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { expect } from "chai";
import type { MongoClient } from "mongodb";
import { connectClient } from "../support/client.js";
import { runCommand, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { freshDatabase, freshUri, givenUri, type OwnServer, startOwnServer } from "../support/server.js";

const open = { "tailgate.config.yaml": "interfaces: { jobs: { read: true } }\nauth: { anonymous: true }\n" };

describe("tailgate serve", () => {
  let files: Awaited<ReturnType<typeof temporaryFiles>>;
  const running: TestCommand[] = [];

  before(async () => {
    files = await temporaryFiles(open);
  });
  afterEach(async () => {
    for (const command of running.splice(0)) {
      command.kill("SIGKILL");
      await command.exit;
    }
  });
  after(() => files.dispose());

  function serve(environment: Record<string, string>, args: string[] = [], folder = files.folder): TestCommand {
    const command = runCommand(["serve", ...args], { PORT: "0", ...environment }, folder);
    running.push(command);
    return command;
  }

  async function portOf(command: TestCommand): Promise<number> {
    return Number(JSON.parse(await command.line(/"gateway started"/)).port);
  }

  describe("exit codes", () => {
    it("is 2 for an unknown command and for an unknown option, with what could have been meant", async () => {
      const command = runCommand(["srve"]);
      const option = runCommand(["serve", "--prot", "80"]);
      expect(await command.exit).to.equal(2);
      expect(command.errors()).to.contain("Did you mean serve?");
      expect(await option.exit).to.equal(2);
      expect(option.errors()).to.contain("Did you mean --port?");
      expect(command.output() + option.output()).to.equal("");
    });

    it("is 69 when no database answers within the start timeout", async () => {
      const command = serve({ MONGODB_URI: "mongodb://127.0.0.1:1/shop" }, ["--start-timeout", "1"]);
      expect(await command.exit).to.equal(69);
      const lines = command.errors().trim().split("\n");
      expect(lines.at(-1)).to.match(/^tailgate: the database at mongodb:\/\/127\.0\.0\.1:1\/shop can't be reached/);
      expect(JSON.parse(lines.at(-2) ?? "")).to.include({ level: "fatal", exitCode: 69 });
      expect(command.output()).to.equal("");
    });

    it("is 78 for a bad configuration, with every problem", async () => {
      const bad = await temporaryFiles({ "tailgate.config.yaml": "interfaces:\n  jobs: { feilds: [a] }\nprot: 80\n" });
      const command = serve({ PORT: "eighty" }, [], bad.folder);
      expect(await command.exit).to.equal(78);
      for (const problem of ["PORT: must be", "did you mean `fields`", "did you mean `port`"]) {
        expect(command.errors()).to.contain(problem);
      }
      await bad.dispose();
    });

    it("is 1 when the port is in use", async () => {
      const other = createServer().listen(0, "127.0.0.1");
      await once(other, "listening");
      const port = String((other.address() as AddressInfo).port);
      const command = serve({ MONGODB_URI: await freshUri(), PORT: port });
      expect(await command.exit).to.equal(1);
      expect(command.errors().trim().split("\n").at(-1)).to.match(/^tailgate: can't listen on .* in use/);
      const yaml = `${open["tailgate.config.yaml"]}api: { port: ${port} }\n`;
      const both = await temporaryFiles({ "tailgate.config.yaml": yaml });
      const second = serve({ MONGODB_URI: await freshUri() }, [], both.folder);
      expect(await second.exit).to.equal(1);
      expect(second.errors().trim().split("\n").at(-1)).to.match(/^tailgate: can't listen on .* Set api.port/);
      await both.dispose();
      other.close();
    });

    it("is 1 when the database is no replica set", async function () {
      if (givenUri) this.skip();
      const alone = await startOwnServer(["--standalone"]);
      const command = serve({ MONGODB_URI: `mongodb://127.0.0.1:${alone.port}/shop` });
      expect(await command.exit).to.equal(1);
      expect(command.errors()).to.contain("rs.initiate()");
      await alone.dispose();
    });

    it("is 1 after an uncaught exception, which is logged as fatal", async () => {
      const faulty = await temporaryFiles({
        "faulty.mjs": `
          process.on("SIGUSR2", () => { throw new Error("thrown from a handler"); });
          export default { interfaces: { jobs: { read: true } }, auth: { anonymous: true } };
        `,
      });
      const command = serve({ MONGODB_URI: await freshUri() }, ["--config", "faulty.mjs"], faulty.folder);
      await portOf(command);
      command.kill("SIGUSR2");
      expect(await command.exit).to.equal(1);
      const last = JSON.parse(command.errors().trim().split("\n").at(-1) ?? "");
      expect(last).to.include({ level: "fatal", msg: "uncaught exception" });
      expect(last.err.message).to.equal("thrown from a handler");
      await faulty.dispose();
    });
  });

  describe("signals", () => {
    it("stops under load: every client gets 1001, the exit code is 0 and no process is left", async () => {
      const database = await freshDatabase();
      const command = serve({ MONGODB_URI: database.uri });
      const url = `ws://127.0.0.1:${await portOf(command)}/ws`;
      const clients = await Promise.all(Array.from({ length: 50 }, () => connectClient(url)));
      const writing = new AbortController();
      const writer = writeUntil(writing.signal, database.client);
      await Promise.all(clients.map((client) => client.next()));
      const started = [command.child.pid ?? 0, ...descendants(command.child.pid ?? 0)];

      command.kill("SIGTERM");
      const codes = (await Promise.all(clients.map(({ closed }) => closed))).map(({ code }) => code);
      expect(await command.exit).to.equal(0);
      writing.abort();
      await writer;

      expect(codes).to.deep.equal(Array.from({ length: 50 }, () => 1001));
      expect(started.filter(isRunning)).to.deep.equal([]);
      expect(command.output()).to.equal("");
      for (const line of command.errors().trim().split("\n")) expect(() => JSON.parse(line), line).not.to.throw();
      await database.dispose();
    });

    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      it(`gives a start-up up after ${signal} and exits with 0`, async () => {
        const command = serve({ MONGODB_URI: "mongodb://127.0.0.1:1/shop", LOG_LEVEL: "debug" });
        await command.line(/"service started"/);
        const asked = performance.now();
        command.kill(signal);
        expect(await command.exit).to.equal(0);
        expect(performance.now() - asked).to.be.below(10_000);
      });
    }

    it("exits with 0 although the database has been killed", async function () {
      if (givenUri) this.skip();
      const server = await startOwnServer();
      const command = serve({ MONGODB_URI: server.uri("shop") });
      await portOf(command);
      await server.kill("SIGKILL");
      await command.line(/"change stream failed"/);
      command.kill("SIGTERM");
      expect(await command.exit).to.equal(0);
      await server.dispose();
    });

    it("exits at once after a second signal", async function () {
      if (givenUri) this.skip();
      const server = await startOwnServer();
      const command = serve({ MONGODB_URI: server.uri("shop") });
      await portOf(command);
      // A database that does not answer keeps the stop waiting until its deadline, eight seconds away.
      await server.kill("SIGSTOP");
      command.kill("SIGTERM");
      await command.line(/"gateway stopping"/);
      const asked = performance.now();
      command.kill("SIGTERM");
      expect(await command.exit).to.equal(1);
      expect(performance.now() - asked).to.be.below(6_000);
      await server.dispose();
    });
  });

  describe("secrets", () => {
    const canary = "canary-8c1f-do-not-print";
    let server: OwnServer;

    before(async function () {
      if (givenUri) return this.skip();
      server = await startOwnServer();
      const { client } = await freshDatabase(server);
      await client.db("admin").command({ createUser: "gate", pwd: canary, roles: [{ role: "root", db: "admin" }] });
      await client.close();
      await server.restart(["--auth"]);
    });
    after(async () => {
      await server?.dispose();
    });

    it("are in no output and not in the process list, at any log level and however the command fails (hazard 42)", async () => {
      const folder = await temporaryFiles({
        "good.yaml": `interfaces: { jobs: { read: true } }\nauth: { jwt: { secret: "${canary}-and-32-bytes-are-enough" } }\n`,
        "bad.yaml": `interfaces: { jobs: { raed: true } }\nauth: { jwt: { secert: ${canary} }, closeCode: 1 }\n`,
      });
      const uri = (password: string): string =>
        `mongodb://gate:${password}@127.0.0.1:${server.port}/shop?replicaSet=secantus&authSource=admin`;
      const trace = { LOG_LEVEL: "trace" };
      const started = serve(trace, ["--mongo", uri(canary), "--config", "good.yaml"], folder.folder);
      await portOf(started);
      const commandLine = readFileSync(`/proc/${started.child.pid}/cmdline`, "utf8");
      expect(commandLine)
        .to.match(/^tailgate serve/)
        .and.not.to.contain("canary");
      started.kill();
      const failing: [TestCommand, number][] = [
        [serve({ ...trace, MONGODB_URI: uri(`wrong-${canary}`) }, ["--config", "good.yaml"], folder.folder), 69],
        [serve({ ...trace, MONGODB_URI: uri(`${canary}@more`) }, ["--config", "bad.yaml"], folder.folder), 78],
        [serve({}, [`--mongoo=${uri(canary)}`], folder.folder), 2],
        [serve({}, ["--port", uri(canary)], folder.folder), 78],
        [runCommand(["doctor", "-c", "good.yaml"], { MONGODB_URI: uri(`x${canary}`) }, folder.folder), 69],
        [runCommand(["tail", "jobs", "--url", `ws://u:${canary}@127.0.0.1:1/ws`, "--token", canary]), 2],
        [runCommand(["tail", "jobs", "--url", "ws://127.0.0.1:1/ws", "--token", canary]), 1],
      ];
      expect(await started.exit).to.equal(0);
      for (const [command, code] of failing) expect(await command.exit, command.errors()).to.equal(code);
      for (const command of [started, ...failing.map(([each]) => each)]) {
        expect(command.output() + command.errors()).not.to.contain("canary");
      }
      await folder.dispose();
    }).timeout(40_000);
  });
});

async function writeUntil(signal: AbortSignal, client: MongoClient): Promise<void> {
  for (let number = 0; !signal.aborted; number++) {
    await client.db().collection("jobs").insertMany([{ number }, { number }, { number }, { number }]);
  }
}

/** The processes that a process has started, and those that these have started. */
function descendants(pid: number): number[] {
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const [, parent] = /\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8")) ?? [];
        return [[Number(name), Number(parent)] as const];
      } catch {
        // It has ended since the folder was read.
        return [];
      }
    });
  const children = parents.filter(([, parent]) => parent === pid).map(([child]) => child);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // No such process, which is what is asked.
    return false;
  }
}
