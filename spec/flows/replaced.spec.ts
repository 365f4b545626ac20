import { expect } from "chai";
import { MongoClient } from "mongodb";
import { connectClient } from "../support/client.js";
import { eventually } from "../support/eventually.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy, type Proxy as TcpProxy } from "../support/proxy.js";
import { givenUri, type OwnServer, startOwnServer } from "../support/server.js";
import { subscribe } from "../support/subscriber.js";

type Item = { _id: number; of: string };

describe("a database that another one takes the place of", () => {
  const servers: OwnServer[] = [];
  const clients: MongoClient[] = [];
  const target = { port: 0 };
  let proxy: TcpProxy;
  let gateway: TestGateway;
  const items = (index: number) => (clients[index] as MongoClient).db("replaced").collection<Item>("items");

  before(async function () {
    if (givenUri) this.skip();
    for (const of of ["first", "second"]) {
      const server = await startOwnServer();
      servers.push(server);
      const client = await new MongoClient(server.uri("replaced")).connect();
      clients.push(client);
      const options = { changeStreamPreAndPostImages: { enabled: true } };
      await client.db("replaced").createCollection("items", options);
      await items(servers.length - 1).insertOne({ _id: servers.length, of });
    }
    target.port = servers[0]?.port ?? 0;
    proxy = await startProxy(target);
    const mongo = `mongodb://127.0.0.1:${proxy.port}/replaced?directConnection=true`;
    gateway = await startTestGateway({ mongo, interfaces: { items: { read: true } } });
  });
  after(async () => {
    await gateway?.stop();
    await proxy?.close();
    for (const client of clients) await client.close();
    for (const server of servers) await server.dispose();
  });

  it("is taken for no continuation of it: what clients hold is void, and so are their positions", async () => {
    const plain = await connectClient(gateway.websocketUrl);
    const subscriber = await subscribe(gateway.websocketUrl, { interface: "items" });
    await subscriber.ready();
    await items(0).insertOne({ _id: 10, of: "first" });
    await subscriber.until((rows) => rows.has("10"));
    const { position: since, view } = subscriber;
    target.port = servers[1]?.port ?? 0;
    proxy.cut();
    expect((await plain.closed).code).to.equal(4510);
    await subscriber.until((rows) => rows.has("2"));
    expect([subscriber.resets, [...subscriber.rows.keys()]]).to.deep.equal([["history-lost"], ["2"]]);
    // At once, though what is written here may be before what was told of there.
    await items(1).insertOne({ _id: 20, of: "second" });
    await subscriber.until((rows) => rows.has("20"));
    expect(subscriber.faults).to.deep.equal([]);
    const late = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    late.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "items", since, view }));
    const messages = await late.until(({ type }) => type === "ready");
    expect(messages.find(({ type }) => type === "reset")).to.deep.include({ reason: "unknown-position" });
    await late.close();
    await subscriber.close();
  });

  it("is not ready while there is none", async () => {
    const status = async (): Promise<number> => (await fetch(`${gateway.url}/readyz`)).status;
    await eventually(async () => (await status()) === 200);
    await servers[1]?.kill("SIGKILL");
    const began = performance.now();
    await eventually(async () => (await status()) === 503, 2_000);
    const { detail } = (await (await fetch(`${gateway.url}/readyz`)).json()) as { detail?: string };
    expect(JSON.stringify(detail), `after ${performance.now() - began} ms`).to.include("not reachable");
  });
});
