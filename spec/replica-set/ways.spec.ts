import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { isRunning } from "../../replica-set/process.mjs";
import { standIn, Workshop } from "./support.js";

/** A Python of the given version; without `ensurepip`, as Debian's is, its last import fails. */
const python = (version: string, code: number) => `#!/bin/sh\necho ${version}\nexit ${code}\n`;

describe("the four ways to a replica set", function () {
  this.timeout(60_000);
  let workshop: Workshop;

  beforeEach(async () => {
    workshop = await Workshop.open();
    workshop.env.REPLICA_TOOLS_DIR = join(workshop.directory, "tools");
    workshop.env.STAND_IN_DOCKER = join(workshop.directory, "docker");
    workshop.withoutNetwork();
  });

  afterEach(() => workshop.close());

  it("gives the reason for each of them where none works, and says exactly what to install", async () => {
    await workshop.onlyOnPath({});
    const { code, lines, errors } = await workshop.replica("start");
    expect(code).to.equal(1);
    expect(lines[0]).to.equal("1. mongod on PATH: not found");
    expect(lines[1]).to.match(/^2\. .*: downloads\.mongodb\.org can't be reached \(ENOTFOUND\)$/);
    expect(lines[2]).to.equal("3. a container: docker: not found; podman: not found");
    expect(lines[3]).to.match(/^4\. .*Python 3\.10 or later is needed and there is no python3 on PATH/);
    expect(lines[3]).to.match(/apt-get install python3 python3-venv|brew install python/);
    expect(errors).to.include("None of the four ways works here");
  });

  it("tells apart a mongod that can't be run, an engine that does not answer and an old Python", async () => {
    await workshop.onlyOnPath({
      mongod: "#!/bin/sh\necho libcurl.so.4: cannot open >&2\nexit 127\n",
      docker: "#!/bin/sh\necho Cannot connect to the daemon >&2\nexit 1\n",
      python3: python("3 8", 0),
    });
    const { lines } = await workshop.replica("start");
    expect(lines[0]).to.match(/mongod can't be run: libcurl\.so\.4: cannot open$/);
    expect(lines[2]).to.include("docker: no engine answers (Cannot connect to the daemon)");
    expect(lines[3]).to.match(/python3 is 3\.8/);
  });

  it("says that venv is missing where Python comes without it", async () => {
    await workshop.onlyOnPath({ python3: python("3 11", 1) });
    const { lines } = await workshop.replica("start");
    expect(lines[3]).to.match(/python3 \(3\.11\) can't make virtual environments\. .*install/);
  });

  it("starts three nodes of the mongod on PATH, and again only the one that was lost", async () => {
    await workshop.onlyOnPath({ mongod: standIn("mongod") });
    const first = await workshop.replica("start");
    expect(first.code, first.output + first.errors).to.equal(0);
    expect(first.lines[0]).to.equal("1. mongod on PATH: taken, MongoDB 8.0.99 (three nodes)");
    const hosts = [0, 1, 2].map((index) => `127.0.0.1:${workshop.port + index}`).join(",");
    expect(first.lines.at(-1)).to.equal(`mongodb://${hosts}/tailgate?replicaSet=rs0`);
    const before = (await workshop.state()).pids;
    process.kill(before[2] ?? 0, "SIGKILL");
    expect((await workshop.replica("status")).lines[0]).to.equal("running: 1 of 3 nodes is gone");
    expect(await workshop.replica("start")).to.include({ code: 0 });
    const after = (await workshop.state()).pids;
    expect(after.slice(0, 2)).to.deep.equal(before.slice(0, 2));
    await workshop.replica("stop");
    expect(await Promise.all(after.map(isRunning))).to.deep.equal([false, false, false]);
    expect((await workshop.replica("start")).lines.at(-1)).to.equal(first.lines.at(-1));
  });

  it("stays with the server that wrote the data, and says so where that is gone", async () => {
    await workshop.onlyOnPath({ mongod: standIn("mongod") });
    await workshop.replica("start");
    await workshop.replica("stop");
    await workshop.onlyOnPath({});
    const { code, errors } = await workshop.replica("start");
    expect(code).to.equal(1);
    expect(errors).to.include("mongod on PATH, which wrote the data here, does not work now: not found");
    expect(errors).to.include("make replica-reset");
  });

  it("keeps the data in a volume where an engine for containers answers", async () => {
    await mkdir(workshop.env.STAND_IN_DOCKER ?? "");
    await workshop.onlyOnPath({ docker: standIn("docker") });
    const first = await workshop.replica("start");
    expect(first.code, first.output + first.errors).to.equal(0);
    expect(first.lines[2]).to.match(/^3\. a container: taken, MongoDB from docker\.io\/library\/mongo/);
    expect(first.lines.at(-1)).to.equal(`mongodb://127.0.0.1:${workshop.port}/tailgate?replicaSet=rs0`);
    expect((await workshop.replica("start")).output).to.include("Already running");
    await workshop.replica("stop");
    expect(await workshop.replica("status")).to.include({ code: 1 });
    expect((await workshop.replica("start")).lines.at(-1)).to.equal(first.lines.at(-1));
    expect((await workshop.replica("reset")).output).to.match(/Deleted container and volume tailgate-replica-/);
  });
});
