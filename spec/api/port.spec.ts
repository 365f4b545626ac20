import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect } from "chai";
import type { SessionRequest } from "../../src/config/settings.js";
import { connectClient } from "../support/client.js";
import { startTestGateway } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { problemOf } from "./support.js";

describe("the API on a port of its own", () => {
  let database: SpecDatabase;
  const asked: SessionRequest[] = [];
  const sessions = (request: SessionRequest): null => {
    asked.push(request);
    return null;
  };
  const start = (port: number) =>
    startTestGateway({
      mongo: database.uri,
      interfaces: { jobs: { read: true, write: true } },
      auth: { anonymous: true, sessions },
      api: { port },
    });

  before(async () => {
    database = await freshDatabase();
  });
  after(() => database.dispose());

  it("answers as on the public one, and believes nobody about addresses", async () => {
    const port = await freePort();
    const gateway = await start(port);
    const direct = `http://127.0.0.1:${port}`;
    try {
      const line = gateway.logged.find(({ msg }) => msg === "the API listens on a port of its own");
      expect(line).to.include({ level: "info", host: "127.0.0.1", port });
      const headers = { "content-type": "application/json" };
      const created = await fetch(`${direct}/api/jobs`, { method: "POST", headers, body: '{"state":"new"}' });
      expect(created.status).to.equal(201);
      const path = created.headers.get("location") ?? "";
      const claims = { "tailgate-peer": "10.9.8.7", "x-forwarded-for": "10.9.8.7", "x-real-ip": "10.9.8.7" };
      const found = await fetch(direct + path, { headers: claims });
      expect(await found.json()).to.deep.equal(await (await fetch(gateway.url + path)).json());
      const { remoteAddress, headers: seen } = asked.find(({ url }) => url === path) as SessionRequest;
      expect(remoteAddress).to.equal("127.0.0.1");
      expect(JSON.stringify(seen)).not.to.include("10.9.8.7");
      const long = await problemOf(await fetch(`${direct}/api/jobs?filter=${"x".repeat(17_000)}`));
      expect(long.code).to.equal("head-too-large");
      const socket = connect(port, "127.0.0.1").setEncoding("utf8").end("hello\r\n\r\n");
      const [head, body] = (await socket.toArray()).join("").split("\r\n\r\n");
      expect(head).to.match(/^HTTP\/1\.1 400 Bad Request\r\nContent-Type: application\/problem\+json\r\n/);
      expect(JSON.parse(body ?? "")).to.include({ status: 400, code: "malformed-request" });
      expect((await connectClient(`ws://127.0.0.1:${port}/ws`)).socket.readyState).to.equal(3);
    } finally {
      await gateway.stop();
    }
    expect(await fetch(`${direct}/livez`).catch(() => "refused")).to.equal("refused");
  });

  it("answers pipelined requests in turn, which end a connection to the public one", async () => {
    const port = await freePort();
    const gateway = await start(port);
    const requests = ["", "Connection: close\r\n"].map((more) => `GET /api/jobs HTTP/1.1\r\nHost: a\r\n${more}\r\n`);
    const answersOf = async (to: number): Promise<string> => {
      const socket = connect(to, "127.0.0.1").setEncoding("utf8");
      socket.write(requests.join(""));
      return (await socket.toArray()).join("");
    };
    try {
      expect((await answersOf(port)).match(/HTTP\/1\.1 200/g)).to.have.length(2);
      expect(await answersOf(gateway.gateway.port)).to.equal("");
    } finally {
      await gateway.stop();
    }
  });

  it("ends the start where the port is in use, and leaves nothing running", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const error = await start(port).catch((reason: unknown) => reason);
    other.close();
    expect(error).to.include({ name: "TailgateError", code: "port-in-use" });
    expect(String(error)).to.include(`can't listen on 127.0.0.1:${port}`).and.include("Set api.port to another");
    const gateway = await start(port);
    await gateway.stop();
  });
});
