import { expect } from "chai";
import { runCommand, temporaryFiles } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

describe("tailgate doctor", () => {
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("jobs", { changeStreamPreAndPostImages: { enabled: true } });
    await database.db.createCollection("bare");
    files = await temporaryFiles({
      "good.yaml": "interfaces: { jobs: { read: true } }\nauth: { anonymous: true }\n",
      "ruled.yaml": "interfaces: { bare: { read: { team: a } } }\nauth: { anonymous: true }\n",
      "bad.yaml": "prot: 1\n",
    });
  });
  after(async () => {
    await files.dispose();
    await database.dispose();
  });

  const doctor = (...args: string[]) =>
    runCommand(["doctor", ...args], { MONGODB_URI: database.uri, PORT: "0" }, files.folder);

  it("prints a report for people on standard output, and exits with 0 where there is no problem", async () => {
    const command = doctor("--config", "good.yaml");
    expect(await command.exit).to.equal(0);
    for (const title of ["Node.js", "uWebSockets", "Configuration", "Listener", "Database", "Collections", "Oplog"]) {
      expect(command.output()).to.match(new RegExp(`^${title}$`, "m"));
    }
    expect(command.output()).to.match(/^ {2}ok {7}jobs keeps pre- and post-images$/m);
    expect(command.output()).to.match(/^The gateway can keep its promises\./m);
    expect(command.output()).not.to.contain("\u001b");
    expect(command.errors()).to.equal("");
  });

  it("prints each problem with its consequence and its fix, and exits with 1", async () => {
    const command = doctor("--config", "ruled.yaml");
    expect(await command.exit).to.equal(1);
    const fix = 'fix: db.runCommand({ collMod: "bare", changeStreamPreAndPostImages: { enabled: true } })';
    expect(command.output()).to.match(/^ {2}problem {2}bare keeps no pre-images.*\n {11}therefore: .*\n {11}fix: /m);
    expect(command.output())
      .to.contain(fix)
      .and.to.match(/The gateway can't keep its promises\. 1 problem/);
  });

  it("prints one JSON object for machines, with the same findings and the exit code", async () => {
    const good = doctor("--config", "good.yaml", "--json");
    const bad = doctor("--config", "bad.yaml", "--json");
    const away = doctor(
      "--config",
      "good.yaml",
      "--json",
      "--mongo",
      "mongodb://127.0.0.1:1/x",
      "--start-timeout",
      "1",
    );
    const [goodCode, badCode, awayCode] = await Promise.all([good.exit, bad.exit, away.exit]);
    expect([goodCode, badCode, awayCode]).to.deep.equal([0, 78, 69]);
    for (const [command, code] of [[good, 0] as const, [bad, 78] as const, [away, 69] as const]) {
      const report = JSON.parse(command.output());
      expect(report.exitCode).to.equal(code);
      for (const finding of report.findings) expect(finding).to.include.keys("area", "level", "what");
    }
  });
});
