import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { expect } from "chai";
import { MongoClient } from "mongodb";
import { defaultUri, fallbackUri } from "../../replica-set/default-uri.mjs";
import { isRunning } from "../../replica-set/process.mjs";
import { ensureSecantus, startSecantus } from "../../replica-set/secantus.mjs";
import { Workshop } from "./support.js";

async function inDatabase<T>(uri: string, work: (client: MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 5_000 });
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

const addNote = (uri: string, text: string) =>
  inDatabase(uri, (client) => client.db().collection("notes").insertOne({ text }));
const notes = (uri: string) =>
  inDatabase(uri, async (client) =>
    (await client.db().collection("notes").find().sort({ _id: 1 }).toArray()).map(({ text }) => text),
  );

describe("make replica", function () {
  this.timeout(60_000);
  let workshop: Workshop;

  before(async function () {
    this.timeout(600_000);
    await ensureSecantus();
  });

  beforeEach(async () => {
    workshop = await Workshop.open();
    workshop.env.TAILGATE_REPLICA = "secantus";
  });

  afterEach(() => workshop.close());

  it("ends with the URI of a set that takes writes and shows them on a change stream at once", async () => {
    const { code, lines } = await workshop.replica("start");
    const uri = lines.at(-1) ?? "";
    expect(code).to.equal(0);
    expect(lines[0]).to.equal("1. mongod on PATH: not tried, TAILGATE_REPLICA=secantus");
    expect(lines[3]).to.match(/^4\. SecantusDB from PyPI: taken/);
    expect(uri).to.equal(`mongodb://127.0.0.1:${workshop.port}/tailgate?replicaSet=secantus`);
    await inDatabase(uri, async (client) => {
      const stream = client.db().collection("notes").watch();
      await stream.tryNext();
      await client.db().collection("notes").insertOne({ text: "seen" });
      expect(await stream.next()).to.have.nested.property("fullDocument.text", "seen");
      await stream.close();
    });
  });

  it("leaves a running set alone and says its URI again", async () => {
    const first = await workshop.replica("start");
    const { pids } = await workshop.state();
    const second = await workshop.replica("start");
    expect(second.code).to.equal(0);
    expect(second.output).to.include("Already running");
    expect(second.lines.at(-1)).to.equal(first.lines.at(-1));
    expect((await workshop.state()).pids).to.deep.equal(pids);
  });

  it("starts one set where it is called twice at once", async () => {
    const [one, other] = await Promise.all([workshop.replica("start"), workshop.replica("start")]);
    expect([one.code, other.code]).to.deep.equal([0, 0]);
    expect(one.lines.at(-1)).to.equal(other.lines.at(-1));
    expect(`${one.output}${other.output}`.match(/Ready after/g)).to.have.length(1);
  });

  it("keeps its data over stop and start", async () => {
    const uri = (await workshop.replica("start")).lines.at(-1) ?? "";
    await addNote(uri, "kept");
    const [pid = 0] = (await workshop.state()).pids;
    expect((await workshop.replica("stop")).output).to.include("Stopped SecantusDB");
    expect(await isRunning(pid)).to.equal(false);
    expect((await workshop.replica("stop")).output).to.include("not running");
    expect((await workshop.replica("start")).lines.at(-1)).to.equal(uri);
    expect(await notes(uri)).to.deep.equal(["kept"]);
  });

  it("comes back with every acknowledged write after kill -9, which its status tells", async () => {
    const uri = (await workshop.replica("start")).lines.at(-1) ?? "";
    const [pid = 0] = (await workshop.state()).pids;
    const written = await inDatabase(uri, async (client) => {
      const texts = Array.from({ length: 200 }, (_, index) => String(index));
      for (const text of texts) await client.db().collection("notes").insertOne({ text });
      process.kill(pid, "SIGKILL");
      return texts;
    });
    const status = await workshop.replica("status");
    expect(status.code).to.equal(1);
    expect(status.lines[0]).to.equal(`not running: process ${pid} is gone without having been stopped`);
    const again = await workshop.replica("start");
    expect(again.code, again.errors).to.equal(0);
    expect(await notes(uri)).to.deep.equal(written);
  });

  it("tells way, URI, process, time and size in its status", async () => {
    expect(await workshop.replica("status")).to.include({ code: 1 });
    const uri = (await workshop.replica("start")).lines.at(-1) ?? "";
    const { pids, startedAt } = await workshop.state();
    const { code, output } = await workshop.replica("status");
    expect(code).to.equal(0);
    for (const part of ["way 4: secantus", uri, String(pids[0]), startedAt, "MB in "]) expect(output).to.include(part);
  });

  it("deletes the data on reset and says what it deleted", async () => {
    const uri = (await workshop.replica("start")).lines.at(-1) ?? "";
    await addNote(uri, "lost");
    const { code, output } = await workshop.replica("reset");
    expect(code).to.equal(0);
    expect(output).to.match(/^Stopped SecantusDB/);
    expect(output).to.include(`Deleted ${join(workshop.directory, "state", "data")}`);
    expect(await readdir(join(workshop.directory, "state"))).to.deep.equal([]);
    expect((await workshop.replica("reset")).output).to.include("nothing to delete");
    expect(await notes((await workshop.replica("start")).lines.at(-1) ?? "")).to.deep.equal([]);
  });

  it("says what to do where another program has the port", async () => {
    const other = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const { code, errors } = await workshop.replica("start", { REPLICA_PORT: String(port) });
    other.close();
    expect(code).to.equal(1);
    expect(errors).to.match(new RegExp(`^Port ${port} is in use by another program`));
    expect(errors).to.include("REPLICA_PORT=").and.to.include("MONGODB_URI=");
  });

  it("refuses another port while it runs, and takes it with its data once stopped", async () => {
    await addNote((await workshop.replica("start")).lines.at(-1) ?? "", "moved");
    const elsewhere = { REPLICA_PORT: String(workshop.port + 1) };
    const refused = await workshop.replica("start", elsewhere);
    expect(refused).to.include({ code: 1 });
    expect(refused.errors).to.include(`the set runs on port ${workshop.port}`);
    await workshop.replica("stop");
    const uri = (await workshop.replica("start", elsewhere)).lines.at(-1) ?? "";
    expect(uri).to.include(`:${workshop.port + 1}/`);
    expect(await notes(uri)).to.deep.equal(["moved"]);
  });

  it("does not end a process that only has the id of its server by now", async () => {
    await workshop.replica("start");
    const file = join(workshop.directory, "state", "state.json");
    const state = await workshop.state();
    const stranger = spawn("sleep", ["60"]);
    await writeFile(file, JSON.stringify({ ...state, pids: [stranger.pid] }));
    expect((await workshop.replica("stop")).output).to.include("not running");
    expect(await isRunning(stranger.pid ?? 0)).to.equal(true);
    stranger.kill();
    await writeFile(file, JSON.stringify(state));
  });

  it("refuses settings that it does not understand", async () => {
    expect((await workshop.replica("start", { REPLICA_PORT: "many" })).errors).to.include("REPLICA_PORT=many");
    expect((await workshop.replica("start", { TAILGATE_REPLICA: "magic" })).errors).to.include("mongod, download");
    expect(await workshop.replica("dance")).to.include({ code: 2 });
  });

  describe("with MONGODB_URI", () => {
    it("checks that database and starts nothing", async () => {
      const server = await startSecantus({ storagePath: join(workshop.directory, "given") });
      try {
        const uri = server.uri("shop");
        const { code, lines } = await workshop.replica("start", { MONGODB_URI: uri });
        expect(code).to.equal(0);
        expect(lines[1]).to.include("replica set secantus");
        expect(lines.at(-1)).to.equal(uri);
        expect(await readdir(workshop.directory)).to.not.include("state");
        expect(await workshop.replica("status", { MONGODB_URI: uri })).to.include({ code: 0 });
      } finally {
        await server.kill();
      }
    });

    it("refuses a standalone server", async () => {
      const flags = ["--standalone"];
      const alone = await startSecantus({ storagePath: join(workshop.directory, "given"), flags });
      try {
        const uri = `mongodb://127.0.0.1:${alone.port}/shop`;
        const { code, errors } = await workshop.replica("start", { MONGODB_URI: uri });
        expect(code).to.equal(1);
        expect(errors).to.include("standalone server").and.to.include("rs.initiate()");
      } finally {
        await alone.kill();
      }
    });

    it("says that it does not answer, without its password", async () => {
      const uri = `mongodb://user:c4n4ry@127.0.0.1:${workshop.port}/shop`;
      const { code, errors, output } = await workshop.replica("start", { MONGODB_URI: uri });
      expect(code).to.equal(1);
      expect(errors).to.include("does not work").and.to.include("unset MONGODB_URI");
      expect(errors + output).to.not.include("c4n4ry");
    });
  });

  it("gives programs its URI as their default, also while it is stopped", async () => {
    const state = join(workshop.directory, "state");
    expect(defaultUri(state)).to.equal(fallbackUri);
    const uri = (await workshop.replica("start")).lines.at(-1);
    expect(defaultUri(state)).to.equal(uri);
    await workshop.replica("stop");
    expect(defaultUri(state)).to.equal(uri);
    expect((await workshop.replica("uri")).output).to.equal(`${uri}\n`);
  });

  it("can be followed by a URI that names no set, as the fallback does", async () => {
    await workshop.replica("start");
    const uri = fallbackUri.replace(/:\d+\//, `:${workshop.port}/`);
    const kind = await inDatabase(uri, async (client) => {
      const stream = client.db().watch();
      await stream.tryNext();
      await client.db().collection("notes").insertOne({ text: "seen" });
      const change = await stream.next();
      await stream.close();
      return change.operationType;
    });
    expect(kind).to.equal("insert");
  });
});
