import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { networkInterfaces } from "node:os";
import { expect } from "chai";
import { inSeconds, signed } from "../auth/issuer.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { problemOf } from "./support.js";

const secret = "a-secret-of-at-least-32-characters";

/** An address of this machine that is not a loopback address: who asks there, asks from there. */
const another = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

describe("the metrics, from another address (hazard 43)", () => {
  let database: SpecDatabase;
  const gateways: TestGateway[] = [];

  before(async function () {
    if (another === undefined) this.skip();
    database = await freshDatabase();
  });
  afterEach(async () => {
    for (const gateway of gateways.splice(0)) await gateway.stop();
  });
  after(() => database?.dispose());

  /** @returns a function that asks at that address */
  async function start(options: object = {}): Promise<(path: string, headers?: object) => Promise<Response>> {
    const gateway = await startTestGateway({
      mongo: database.uri,
      host: "0.0.0.0",
      interfaces: { jobs: { read: true } },
      auth: { anonymous: true, jwt: { secret } },
      ...options,
    });
    gateways.push(gateway);
    return (path, headers = {}) =>
      fetch(`http://${another}:${gateway.gateway.port}${path}`, { headers: headers as Record<string, string> });
  }
  const bearer = async (claims: object = {}): Promise<object> => ({
    authorization: `Bearer ${await signed(secret, { sub: "u1", ...claims })}`,
  });

  it("are kept from who has no token, although all else is open to anonymous requests", async () => {
    const ask = await start();
    const response = await ask("/metrics");
    expect(response.headers.get("www-authenticate")).to.equal("Bearer");
    const problem = await problemOf(response);
    expect(problem).to.include({ status: 401, code: "metrics-not-public" });
    expect(problem.detail).to.contain("metrics.public");
    for (const path of ["/api/jobs", "/livez", "/readyz", "/version", "/openapi.json", "/asyncapi.json"]) {
      expect((await ask(path)).status, path).to.equal(200);
    }
  });

  it("are not told to who says in a header that it is on this machine", async () => {
    const ask = await start();
    const names = ["tailgate-peer", "x-forwarded-for", "x-real-ip", "forwarded", "host"];
    for (const name of names) {
      for (const value of ["127.0.0.1", "for=127.0.0.1", "::1"]) {
        const response = await ask("/metrics", { [name]: value });
        expect(response.status, `${name}: ${value}`).to.equal(401);
      }
    }
    const { port } = (gateways[0] as TestGateway).gateway;
    // Twice, and as a header that is for this connection only.
    const headers = { connection: "tailgate-peer", "Tailgate-Peer": ["127.0.0.1", "127.0.0.1"] };
    const asked = request({ host: another, port, path: "/metrics", headers }).end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    expect(response.statusCode).to.equal(401);
    response.resume();
  });

  it("are there with a token that is good, and with no other", async () => {
    const ask = await start();
    const response = await ask("/metrics", await bearer());
    expect(response.status).to.equal(200);
    expect(await response.text()).to.contain("tailgate_connections");
    for (const headers of [await bearer({ exp: inSeconds(-60) }), { authorization: "Bearer x.y.z" }]) {
      expect(await problemOf(await ask("/metrics", headers))).to.include({ status: 401, code: "bad-token" });
    }
  });

  it("are kept where anonymous requests are not allowed either, in the same words", async () => {
    const ask = await start({ auth: { jwt: { secret } } });
    expect(await problemOf(await ask("/metrics"))).to.include({ status: 401, code: "metrics-not-public" });
    expect((await ask("/metrics", await bearer())).status).to.equal(200);
  });

  it("are there for everyone where the configuration says so", async () => {
    const ask = await start({ metrics: { public: true } });
    expect((await ask("/metrics")).status).to.equal(200);
  });

  it("are there at a loopback address, without a token, whatever the rest of the API asks for", async () => {
    await start({ auth: { jwt: { secret } } });
    const { url } = gateways[0] as TestGateway;
    expect((await fetch(`${url}/api/jobs`)).status).to.equal(401);
    const response = await fetch(`${url}/metrics`);
    expect(response.status).to.equal(200);
    expect(response.headers.get("content-type")).to.match(/^text\/plain/);
    expect(response.headers.get("cache-control")).to.equal("no-store");
  });
});
