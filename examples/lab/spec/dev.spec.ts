import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { connectClient } from "../../../spec/support/client.js";
import { freshDatabase, type SpecDatabase } from "../../../spec/support/server.js";
import { projectFolder } from "../settings.js";
import { freePort } from "./support/rig.js";

interface Dev {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves when the output matches. */
  prints(pattern: RegExp): Promise<RegExpExecArray>;
  readonly end: Promise<number | NodeJS.Signals>;
}

describe("make dev", function () {
  this.timeout(90_000);
  let database: SpecDatabase;
  let folder: string;
  const started: Dev[] = [];
  before(async () => {
    database = await freshDatabase();
    folder = await mkdtemp(join(tmpdir(), "tailgate-dev-"));
  });
  afterEach(async () => {
    for (const { child, end } of started.splice(0)) {
      child.kill("SIGKILL");
      await end;
    }
  });
  after(async () => {
    await database.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  /** What the target of the Makefile runs once everything is built, against the specs' database. */
  function startDev(environment: Record<string, string>): Dev {
    const child = spawn(process.execPath, ["--import", "tsx", "examples/lab/dev.ts"], {
      cwd: projectFolder,
      env: { ...process.env, MONGODB_URI: database.uri, LAB_DIR: folder, HOST: "127.0.0.1", ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const look = new Set<() => void>();
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        for (const each of look) each();
      });
    }
    const end = once(child, "close").then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
    const dev: Dev = {
      child,
      end,
      output: () => output,
      prints(pattern) {
        return new Promise((resolve, reject) => {
          const check = (): void => {
            const found = pattern.exec(output);
            if (found === null) return;
            look.delete(check);
            resolve(found);
          };
          look.add(check);
          check();
          void end.then(() => setImmediate(() => reject(new Error(`ended before it printed ${pattern}:\n${output}`))));
        });
      },
    };
    started.push(dev);
    return dev;
  }

  /** The processes that a process has started. */
  async function childrenOf(pid: number | undefined): Promise<number[]> {
    const { readFile } = await import("node:fs/promises");
    const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.trim().split(" ").filter(Boolean).map(Number);
  }

  function isAlive(pid: number): boolean {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  }

  async function untilGone(pids: readonly number[]): Promise<void> {
    while (pids.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  it("prints where the lab is; the page is there and changes come in; Ctrl-C stops all of it", async () => {
    const port = await freePort();
    const dev = startDev({ PORT: String(port) });
    await dev.prints(/Ctrl-C stops the lab/);
    expect(dev.output()).to.include(`http://127.0.0.1:${port}/\n`);
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).to.include("<title>Tailgate lab</title>");
    const client = await connectClient(`ws://127.0.0.1:${port}/ws`);
    expect((await client.next()).interface).to.match(/^(samples|jobs)$/);
    const children = await childrenOf(dev.child.pid);
    expect(children).to.have.length.of.at.least(2);
    dev.child.kill("SIGINT");
    expect(await dev.end).to.equal(0);
    expect((await client.closed).code).to.equal(1001);
    expect(dev.output()).to.match(/Ctrl-C: stopping the lab\nStopped\.\n$/);
    expect(children.filter(isAlive)).to.deep.equal([]);
  });

  it("says plainly that the port is in use, before anything is started", async () => {
    const server = createServer().listen(await freePort(), "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const dev = startDev({ PORT: String(port) });
    expect(await dev.end).to.equal(1);
    expect(dev.output()).to.match(
      new RegExp(`^\\s*Port ${port} is in use by another program. Take another: PORT=\\d+ make dev`),
    );
    server.close();
  });

  it("says how to start the writer again when it has crashed, and goes on", async () => {
    const dev = startDev({ PORT: "0" });
    const [, url = ""] = await dev.prints(/Page +(http:\S+)/);
    await dev.prints(/Ctrl-C stops the lab/);
    const writer = (await childrenOf(dev.child.pid)).at(-1) as number;
    process.kill(writer, "SIGKILL");
    await dev.prints(/The writer ended \(SIGKILL\)[\s\S]*MONGODB_URI=.* node --import tsx examples\/lab\/writer.ts/);
    expect((await fetch(url)).status).to.equal(200);
  });

  it("ends with the rest when the gateway has crashed", async () => {
    const dev = startDev({ PORT: "0" });
    await dev.prints(/Ctrl-C stops the lab/);
    const children = await childrenOf(dev.child.pid);
    process.kill(children.at(-2) as number, "SIGKILL");
    expect(await dev.end).to.equal(1);
    expect(dev.output()).to.match(/The gateway ended \(SIGKILL\)/);
    expect(children.filter(isAlive)).to.deep.equal([]);
  });

  it("leaves no process behind when it is killed itself", async () => {
    const dev = startDev({ PORT: "0" });
    await dev.prints(/Ctrl-C stops the lab/);
    const children = await childrenOf(dev.child.pid);
    dev.child.kill("SIGKILL");
    await dev.end;
    await untilGone(children);
  });

  it("says what is wrong when the database can't be used", async () => {
    const dev = startDev({
      PORT: "0",
      MONGODB_URI: `mongodb://127.0.0.1:${await freePort()}/lab?serverSelectionTimeoutMS=500`,
    });
    expect(await dev.end).to.equal(1);
    expect(dev.output()).to.match(/There is no database to work with; why is above/);
  });
});
