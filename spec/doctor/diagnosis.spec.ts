import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect } from "chai";
import { MongoClient } from "mongodb";
import { type Diagnosis, diagnose } from "../../src/doctor/diagnosis.js";
import type { Finding } from "../../src/doctor/finding.js";
import { failCommand } from "../support/failpoint.js";
import { startTestGateway, temporaryFiles } from "../support/gateway.js";
import {
  createFollower,
  freshDatabase,
  givenUri,
  type OwnServer,
  type SpecDatabase,
  startOwnServer,
} from "../support/server.js";

const images = { changeStreamPreAndPostImages: { enabled: true } };

async function examine(
  mongo: string,
  configuration: string,
  environment: Record<string, string> = {},
  startTimeoutMilliseconds = 10_000,
): Promise<Diagnosis> {
  const files = await temporaryFiles({ "tailgate.config.yaml": configuration });
  try {
    return await diagnose({
      environment: { MONGODB_URI: mongo, PORT: "0", ...environment },
      workingDirectory: files.folder,
      startTimeoutMilliseconds,
    });
  } finally {
    await files.dispose();
  }
}

function find({ findings }: Diagnosis, pattern: RegExp): Finding {
  const found = findings.find(({ what }) => pattern.test(what));
  if (found === undefined) throw new Error(`nothing about ${pattern} in ${JSON.stringify(findings, null, 1)}`);
  return found;
}

const levelsOf = ({ findings }: Diagnosis, area: Finding["area"]): string[] =>
  findings.filter((finding) => finding.area === area).map(({ level }) => level);

const worst = ({ findings }: Diagnosis): Finding[] => findings.filter(({ level }) => level === "problem");

/** Runs a fix as a person would paste it into mongosh, on a connection that may. */
async function apply(fix: string | undefined, client: MongoClient, database: string): Promise<void> {
  const siblingsOf = (name: string): Record<string, unknown> => ({
    getSiblingDB: siblingsOf,
    runCommand: (command: object) => client.db(name).command(command as { [key: string]: unknown }),
    createCollection: (collection: string, options: object) => client.db(name).createCollection(collection, options),
    grantRolesToUser: (user: string, roles: unknown) => client.db(name).command({ grantRolesToUser: user, roles }),
  });
  await new Function("db", `return ${fix}`)(siblingsOf(database));
}

describe("the doctor", () => {
  let database: SpecDatabase;

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("jobs", images);
    await database.db.createCollection("bare");
  });
  after(() => database.dispose());

  it("has no problem and exit code 0 where everything is as it should be", async () => {
    const diagnosis = await examine(
      database.uri,
      `interfaces: { jobs: { read: { user: "$user.sub" } } }\nauth: { jwt: { secret: ${"s".repeat(32)} } }\n`,
    );
    expect(worst(diagnosis)).to.deep.equal([]);
    expect(diagnosis.exitCode).to.equal(0);
    expect(levelsOf(diagnosis, "uwebsockets")).to.deep.equal(["ok"]);
    expect(levelsOf(diagnosis, "collections")).to.deep.equal(["ok", "ok"]);
    expect(diagnosis.findings.some(({ what }) => what.includes("ssss"))).to.equal(false);
  });

  it("finds a rule without the pre-images that it needs, and its fix mends it", async () => {
    const rule = "interfaces: { bare: { read: { team: a } } }\nauth: { anonymous: true }\n";
    const before = await examine(database.uri, rule);
    expect(before.exitCode).to.equal(1);
    expect(worst(before)).to.have.length(1);
    const { consequence, fix } = find(before, /bare keeps no pre-images, which the rule of bare needs/);
    expect(consequence).to.contain("snapshot");
    await apply(fix, database.client, database.db.databaseName);
    expect((await examine(database.uri, rule)).exitCode).to.equal(0);
  });

  it("takes missing pre-images of an interface that is open to all for no problem", async () => {
    await database.db.createCollection("plain");
    const diagnosis = await examine(database.uri, "interfaces: { plain: { read: true } }\nauth: { anonymous: true }\n");
    expect(find(diagnosis, /plain keeps no pre-images/).level).to.equal("note");
    expect(diagnosis.exitCode).to.equal(0);
  });

  it("warns of a collection that does not exist, and takes a view for a problem", async () => {
    await database.db.createCollection("seen", { viewOn: "jobs", pipeline: [] });
    const diagnosis = await examine(
      database.uri,
      "interfaces: { nowhere: { read: true }, seen: { read: true } }\nauth: { anonymous: true }\n",
    );
    const missing = find(diagnosis, /nowhere does not exist/);
    expect(missing.level).to.equal("warning");
    await apply(missing.fix, database.client, database.db.databaseName);
    const [created] = await database.db.listCollections({ name: "nowhere" }).toArray();
    expect(created).to.deep.include({ options: images });
    expect(find(diagnosis, /seen is a view/).level).to.equal("problem");
    expect(diagnosis.exitCode).to.equal(1);
  });

  it("says what is public, what nobody can reach, and which secret is short", async () => {
    const open = await examine(
      database.uri,
      "interfaces: { jobs: { read: true, write: true } }\nauth: { anonymous: true, jwt: { secret: short } }\nhost: 0.0.0.0\n",
    );
    expect(find(open, /everyone who can reach 0\.0\.0\.0:0 may read all documents of jobs/).consequence).to.contain(
      "not only",
    );
    expect(find(open, /may create, change and delete documents of jobs/).level).to.equal("warning");
    expect(find(open, /secret has fewer than 32 bytes/)).to.include({ level: "warning" });
    expect(open.exitCode).to.equal(0);
    const closed = await examine(database.uri, "interfaces: { jobs: { read: true } }\n");
    expect(find(closed, /there is no way in/).consequence).to.contain("401");
    const nothing = await examine(database.uri, "");
    expect(find(nothing, /no interface is configured/).level).to.equal("warning");
  });

  it("has exit code 78 for a bad configuration, with every problem", async () => {
    const diagnosis = await examine(database.uri, "interfaces: { jobs: { raed: true } }\nprot: 1\n");
    expect(diagnosis.exitCode).to.equal(78);
    expect(find(diagnosis, /did you mean `read`/).what).to.contain("did you mean `port`");
  });

  it("has exit code 69 where no database answers", async () => {
    const diagnosis = await examine("mongodb://127.0.0.1:1/shop", "", {}, 2_000);
    expect(diagnosis.exitCode).to.equal(69);
    expect(find(diagnosis, /can't be reached: connect ECONNREFUSED/).fix).to.contain("make replica");
  });

  it("tells a port that another program has from one that a gateway has", async () => {
    const other = createServer((socket) => socket.end("no HTTP\n")).listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const taken = await examine(database.uri, "", { PORT: String(port) });
    expect(find(taken, /is in use by another program/).level).to.equal("problem");
    expect(taken.exitCode).to.equal(1);
    other.close();
    const gateway = await startTestGateway({ mongo: database.uri });
    const running = await examine(database.uri, "", { PORT: String(gateway.gateway.port) }).finally(gateway.stop);
    expect(find(running, /a gateway is listening/).level).to.equal("note");
    expect(running.exitCode).to.equal(0);
  });
});

describe("the doctor, at servers that are not as they should be", () => {
  let server: OwnServer | undefined;

  before(function () {
    if (givenUri) this.skip();
  });
  afterEach(async () => {
    await server?.dispose();
    server = undefined;
  });

  const configuration = "interfaces: { jobs: { read: true, write: true } }\nauth: { anonymous: true }\n";

  it("tries the privileges for real, and its fixes mend what is missing", async () => {
    server = await startOwnServer();
    const setUp = await freshDatabase(server);
    await setUp.db.createCollection("jobs", images);
    const admin = setUp.client.db("admin");
    for (const [user, roles] of Object.entries({
      root: [{ role: "root", db: "admin" }],
      reader: [{ role: "read", db: setUp.db.databaseName }],
      nobody: [],
    })) {
      await admin.command({ createUser: user, pwd: `${user}-password`, roles });
    }
    await createFollower(setUp);
    await setUp.client.close();
    await server.restart(["--auth"]);
    const uriOf = (user: string, password = `${user}-password`): string =>
      setUp.uri.replace("mongodb://", `mongodb://${user}:${password}@`).concat("&authSource=admin");

    const reader = await examine(uriOf("reader"), configuration.replace("write: true", "write: false"));
    expect(reader.exitCode).to.equal(0);
    expect(find(reader, /may not read local\.oplog\.rs/).level).to.equal("note");

    const follower = await examine(uriOf("follower"), configuration.replace("write: true", "write: false"));
    expect(follower.exitCode).to.equal(0);
    expect(find(follower, /the user follower may not list the collections/).level).to.equal("warning");
    const ruled = await examine(uriOf("follower"), "interfaces: { jobs: { read: { team: a } } }\n");
    expect(worst(ruled).map(({ what }) => what)).to.deep.equal([
      `the user follower may not list the collections of ${setUp.db.databaseName}`,
    ]);
    expect(worst(ruled)[0]?.consequence).to.contain("remembers every id it has shown");

    const root = await connected(uriOf("root"));
    const name = setUp.db.databaseName;
    const before = await examine(uriOf("nobody"), configuration);
    expect(before.exitCode).to.equal(1);
    expect(find(before, /the user nobody may not change jobs/).fix).to.contain("grantRolesToUser");
    await apply(find(before, /the user nobody may not open a change stream/).fix, root, name);
    const between = await examine(uriOf("nobody"), configuration);
    expect(worst(between).map(({ what }) => what)).to.deep.equal(["the user nobody may not change jobs"]);
    await apply(worst(between)[0]?.fix, root, name);
    expect((await examine(uriOf("nobody"), configuration)).exitCode).to.equal(0);
    await root.close();

    const refused = await examine(uriOf("reader", "wrong-password"), configuration);
    expect(refused.exitCode).to.equal(69);
    expect(find(refused, /refuses the user/).fix).to.contain("authSource");
    expect(JSON.stringify(refused)).not.to.contain("wrong-password");
    const without = await examine(setUp.uri, configuration);
    expect(without.exitCode).to.equal(1);
    expect(JSON.stringify(worst(without))).to.contain("a connection without a user");
  }).timeout(40_000);

  it("knows what Atlas says of a user that is refused, or lacks a privilege", async () => {
    server = await startOwnServer();
    const own = await freshDatabase(server);
    await own.db.createCollection("jobs", images);
    const atlasError = 8000;
    await failCommand(own.client, "alwaysOn", { failCommands: ["aggregate", "find"], errorCode: atlasError });
    const lacking = await examine(own.uri, configuration);
    expect(find(lacking, /may not open a change stream/).fix).to.be.a("string");
    expect(find(lacking, /may not read jobs/).fix).to.be.a("string");
    expect(find(lacking, /may not read local\.oplog\.rs/).level).to.equal("note");
    await failCommand(own.client, "alwaysOn", { failCommands: ["buildInfo"], errorCode: atlasError });
    expect(find(await examine(own.uri, configuration), /refuses the user/).fix).to.contain("authSource");
    await own.client.close();
  });

  it("finds a database that is no replica set, however it is addressed", async () => {
    server = await startOwnServer(["--standalone"]);
    const direct = await examine(`mongodb://127.0.0.1:${server.port}/shop`, configuration);
    expect(direct.exitCode).to.equal(1);
    expect(find(direct, /is not a replica set/).fix).to.contain("rs.initiate()");
    const named = await examine(`mongodb://127.0.0.1:${server.port}/shop?replicaSet=rs0`, configuration);
    expect(named.exitCode).to.equal(69);
    expect(find(named, /can't be reached/).fix).to.contain("rs.initiate()");
  });

  it("names the replica set where the URI asks for another", async () => {
    server = await startOwnServer();
    const diagnosis = await examine(`mongodb://127.0.0.1:${server.port}/shop?replicaSet=rs0`, configuration);
    expect(diagnosis.exitCode).to.equal(69);
    expect(find(diagnosis, /can't be reached/).fix).to.contain("say replicaSet=secantus");
  });

  it("opens the stream that the gateway opens, whatever the URI says for reads", async () => {
    server = await startOwnServer();
    const own = await freshDatabase(server);
    await own.db.createCollection("jobs", images);
    const local = await examine(`${own.uri}&readConcernLevel=local`, configuration);
    expect(find(local, /the change stream over jobs opens/).level).to.equal("ok");
    await own.client.close();
  });

  it("warns of an oplog that has rolled past less than an hour", async () => {
    server = await startOwnServer(["--oplog-max-entries", "50"]);
    const own = await freshDatabase(server);
    await own.db.createCollection("jobs", images);
    const young = await examine(own.uri, configuration);
    expect(find(young, /the oplog goes back/).level).to.equal("ok");
    // The server looks at its limit once in a thousand entries.
    await own.db.collection("jobs").insertMany(Array.from({ length: 1_500 }, (_, number) => ({ number })));
    const rolled = await examine(own.uri, configuration);
    const { fix, level } = find(rolled, /the oplog goes back \d+ seconds/);
    expect(level).to.equal("warning");
    // As a plain number mongosh would send an int, which the command refuses.
    expect(fix).to.contain("replSetResizeOplog: 1, size: Double(16384)").and.to.contain("Minimum Oplog Window");
    await own.client.close();
  });
});

function connected(uri: string): Promise<MongoClient> {
  return new MongoClient(uri, { serverSelectionTimeoutMS: 5_000 }).connect();
}
