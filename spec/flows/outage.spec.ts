import { expect } from "chai";
import { signed } from "../auth/issuer.js";
import { connectClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type OwnServer, startOwnServer } from "../support/server.js";

const secret = "a-secret-of-at-least-32-characters";

describe("who comes while the database is away", () => {
  let server: OwnServer;
  let gateway: TestGateway;

  before(async () => {
    server = await startOwnServer();
    const { uri, client } = await freshDatabase(server);
    await client.close();
    gateway = await startTestGateway({
      mongo: uri,
      interfaces: {
        items: { read: true, fields: ["n"], filterable: ["owner"] },
        mine: { collection: "items", read: { owner: "$user.sub" } },
      },
      auth: { jwt: { secret } },
    });
    await server.kill("SIGKILL");
  });
  after(async () => {
    await gateway.stop();
    await server.dispose();
  });

  it("is told so, with and without a filter and under a rule, in both modes", async function () {
    this.timeout(60_000);
    const headers = { authorization: `Bearer ${await signed(secret, { sub: "ann" })}` };
    const live = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"], headers });
    live.socket.send(JSON.stringify({ type: "subscribe", id: "all", interface: "items" }));
    live.socket.send(JSON.stringify({ type: "subscribe", id: "some", interface: "items", filter: { owner: "ann" } }));
    live.socket.send(JSON.stringify({ type: "subscribe", id: "mine", interface: "mine" }));
    const told = new Map<unknown, unknown>();
    while (told.size < 3) {
      const { type, id, code, status } = await live.next(40_000);
      if (type === "error") told.set(id, [status, code]);
    }
    for (const each of told.values()) expect(each).to.deep.equal([503, "database-unavailable"]);
    const plain = await connectClient(`${gateway.websocketUrl}?interfaces=mine`, { headers });
    expect(await plain.closed).to.deep.equal({ code: 4500, reason: "the database is not available" });
    await live.close();
  });
});
