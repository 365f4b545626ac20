import { expect } from "chai";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { runCommand, startTestGateway, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { freshDatabase } from "../support/server.js";

const secret = "canary-secret-of-at-least-64-bytes-so-that-HS512-is-content-with-it!";
type Files = Awaited<ReturnType<typeof temporaryFiles>>;

describe("tailgate token", () => {
  const folders: Files[] = [];
  after(async () => {
    for (const files of folders) await files.dispose();
  });

  async function run(configuration: string | undefined, ...args: string[]): Promise<TestCommand & { code: unknown }> {
    const files = await temporaryFiles(configuration === undefined ? {} : { "tailgate.config.yaml": configuration });
    folders.push(files);
    const command = runCommand(["token", ...args], {}, files.folder);
    const code = await command.exit;
    expect(command.output() + command.errors()).to.not.contain("canary");
    return Object.assign(command, { code });
  }

  it("prints a token alone, which the gateway accepts, with claims that are JSON or else text", async () => {
    const jwt = { secret, issuer: "https://id.test", audience: ["app", "other"] };
    const configuration = `auth: { jwt: ${JSON.stringify(jwt)} }\n`;
    const claims = ['teams=["red","blue"]', "level=3", "admin=false", "name=Ann = A", "note="];
    const command = await run(configuration, "--sub", "u1", ...claims.flatMap((claim) => ["--claim", claim]));
    expect(command.code, command.errors()).to.equal(0);
    expect(command.output()).to.match(/^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    expect(command.errors()).to.equal("");
    const token = command.output().trim();
    const { iat = 0, exp = 0, ...rest } = decodeJwt(token);
    expect(exp - iat).to.equal(3_600);
    expect(rest).to.deep.equal({
      iss: "https://id.test",
      aud: "app",
      sub: "u1",
      teams: ["red", "blue"],
      level: 3,
      admin: false,
      name: "Ann = A",
      note: "",
    });

    const database = await freshDatabase();
    await database.db.collection<{ _id: number; team: string }>("jobs").insertMany([
      { _id: 1, team: "red" },
      { _id: 2, team: "green" },
    ]);
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { jobs: { read: { team: { $in: "$user.teams" } } } },
      auth: { jwt },
    });
    const response = await fetch(`${gateway.url}/api/jobs`, { headers: { authorization: `Bearer ${token}` } });
    expect(((await response.json()) as { data: unknown }).data).to.deep.equal([{ id: 1, team: "red" }]);
    await gateway.stop();
    await database.dispose();
  });

  it("takes the algorithm of the configuration, and the time that --ttl says", async () => {
    const configuration = `auth: { jwt: { secret: "${secret}", jwksUrl: "https://id.test/k", algorithms: [RS256, HS512] } }\n`;
    const command = await run(configuration, "--sub", "u1", "--ttl", "2s");
    expect(command.code, command.errors()).to.equal(0);
    const token = command.output().trim();
    expect(decodeProtectedHeader(token).alg).to.equal("HS512");
    const { iat = 0, exp = 0 } = decodeJwt(token);
    expect(exp - iat).to.equal(2);
  });

  it("exits with 78 without a secret to sign with, and says what to add", async () => {
    const none = await run(undefined, "--sub", "u1");
    expect(none.code).to.equal(78);
    expect(none.errors()).to.contain("auth: { jwt: { secret:");
    const keysOnly = await run('auth: { jwt: { jwksUrl: "https://id.test/k" } }\n', "--sub", "u1");
    expect(keysOnly.code).to.equal(78);
    const both = `auth: { jwt: { secret: "${secret}", jwksUrl: "https://id.test/k", algorithms: [RS256] } }\n`;
    const noAlgorithm = await run(both, "--sub", "u1");
    expect(noAlgorithm.code).to.equal(78);
    expect(noAlgorithm.errors()).to.contain("Add HS256");
    expect(none.output() + keysOnly.output() + noAlgorithm.output()).to.equal("");
  });

  const wrong: string[][] = [
    [],
    ["--sub", ""],
    ...["0s", "-1h", "1", "h", "1.5h", "1y", "1h30m", "99999d", "1e3s", ""].map((ttl) => ["--sub", "u1", "--ttl", ttl]),
    ...["team", "=x", "sub=u2", "exp=1", "iat=1"].map((claim) => ["--sub", "u1", "--claim", claim]),
  ];
  it("exits with 2 for what it can't read", async function () {
    this.timeout(120_000);
    const files = await temporaryFiles({ "tailgate.config.yaml": `auth: { jwt: { secret: "${secret}" } }\n` });
    folders.push(files);
    const check = async (args: string[]): Promise<void> => {
      const command = runCommand(["token", ...args], {}, files.folder);
      expect(await command.exit, args.join(" ")).to.equal(2);
      expect(command.output()).to.equal("");
    };
    while (wrong.length > 0) await Promise.all(wrong.splice(0, 3).map(check));
  });
});
