import { execFileSync } from "node:child_process";
import { expect } from "chai";
import { inSeconds, signed } from "../auth/issuer.js";
import { connectClient } from "../support/client.js";
import { runCommand, type TestCommand, temporaryFiles } from "../support/gateway.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

const canary = "canary-5150";
const secret = `${canary}-secret-of-at-least-32-characters`;

describe("the command's secrets (hazard 42)", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;
  const uriOf = (password: string): string =>
    database.uri.replace("mongodb://", `mongodb://gateway:${password}@`).concat("&authSource=admin");
  const run = (command: string, uri: string): TestCommand => {
    const config = `${files.folder}/tailgate.config.json`;
    const args = [command, "--config", config, "--mongo", uri, "--start-timeout", "2"];
    return runCommand(args, { PORT: "0", LOG_LEVEL: "trace" });
  };

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
    database = await freshDatabase(server);
    await database.db.createCollection("jobs", { changeStreamPreAndPostImages: { enabled: true } });
    await database.client.db("admin").command({ createUser: "gateway", pwd: canary, roles: ["root"] });
    await database.client.close();
    await server.restart(["--auth"]);
    files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({
        interfaces: { jobs: { read: { owner: "$user.sub" }, write: true } },
        auth: { anonymous: true, jwt: { secret } },
      }),
    });
  });
  after(async () => {
    await server?.dispose();
    await files?.dispose();
  });

  it("are in no output, no answer, no metric and not in `ps`, while all goes well and while it doesn't", async () => {
    const gateway = run("serve", uriOf(canary));
    const { port } = JSON.parse(await gateway.line(/"gateway started"/)) as { port: number };
    const url = `http://127.0.0.1:${port}`;
    const seen: string[] = [];
    const good = await signed(secret, { sub: "u1" });
    const expired = await signed(secret, { sub: "u1", exp: inSeconds(-60) });
    for (const token of [good, expired, `${good}x`]) {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const client = await connectClient(`ws://127.0.0.1:${port}/ws`, { headers, protocols: ["tailgate.v1"] });
      client.socket.send("{");
      seen.push(JSON.stringify([await client.closed, client.received]));
      for (const path of ["jobs", "jobs/1", "nope"]) {
        const answer = await fetch(`${url}/api/${path}`, { headers });
        seen.push(await answer.text(), JSON.stringify([...answer.headers]));
      }
      const written = await fetch(`${url}/api/jobs`, { method: "POST", headers, body: "{" });
      seen.push(await written.text());
      expect(seen.join("\n")).not.to.contain(token.slice(-20));
    }
    for (const path of ["metrics", "openapi.json", "asyncapi.json", "version", "readyz"]) {
      seen.push(await (await fetch(`${url}/${path}`)).text());
    }
    seen.push(execFileSync("ps", ["-ww", "-o", "args=", "-p", String(gateway.child.pid)], { encoding: "utf8" }));
    // Without its database it fails in other ways.
    await server.kill("SIGKILL");
    await gateway.line(/change stream failed/);
    seen.push(await (await fetch(`${url}/readyz`)).text());
    gateway.kill();
    expect(await gateway.exit).to.equal(0);
    await server.restart(["--auth"]);
    seen.push(gateway.output(), gateway.errors());
    expect(gateway.errors()).to.contain("gateway stopped");
    expect(seen.join("\n")).not.to.contain(canary);
  }).timeout(60_000);

  for (const [what, uri, code] of [
    ["a wrong password", () => uriOf(`${canary}-wrong`), 69],
    ["an address where nothing is", () => `mongodb://gateway:${canary}@127.0.0.1:1/jobs`, 69],
    ["a URI that can't be read", () => `mongodb://gateway:${canary}@@127.0.0.1:1:2/jobs`, 78],
  ] as const) {
    it(`are in no message about ${what}`, async () => {
      for (const failing of ["serve", "doctor"].map((command) => run(command, uri()))) {
        expect(await failing.exit, failing.errors()).to.equal(code);
        expect(failing.output() + failing.errors()).not.to.contain(canary);
      }
    }).timeout(40_000);
  }
});
