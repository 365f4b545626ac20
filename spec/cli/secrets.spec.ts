import { expect } from "chai";
import { inSeconds, signed } from "../auth/issuer.js";
import { connectClient } from "../support/client.js";
import { runCommand, temporaryFiles } from "../support/gateway.js";
import { freshDatabase, givenUri, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

const canary = "canary-5150";
const secret = `${canary}-secret-of-at-least-32-characters`;

describe("the secrets of a gateway that runs (hazard 42)", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let files: Awaited<ReturnType<typeof temporaryFiles>>;

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

  it("are in no output, no answer and no metric, while all goes well and while it doesn't", async () => {
    const gateway = runCommand(["serve", "--config", `${files.folder}/tailgate.config.json`], {
      MONGODB_URI: database.uri.replace("mongodb://", `mongodb://gateway:${canary}@`).concat("&authSource=admin"),
      PORT: "0",
      LOG_LEVEL: "trace",
    });
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
});
