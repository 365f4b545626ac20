import { expect } from "chai";
import { inSeconds, signed } from "../auth/issuer.js";
import { connectClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { subscribe } from "../support/subscriber.js";

const secret = "a-secret-of-at-least-32-characters";

describe("a wall clock that steps (hazard 16)", () => {
  const realNow = Date.now;
  let database: SpecDatabase;
  let gateway: TestGateway;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { items: { read: true } },
      auth: { anonymous: true, jwt: { secret } },
    });
  });
  after(async () => {
    Date.now = realNow;
    await gateway.stop();
    await database.dispose();
  });

  it("neither disturbs the order, nor ends a connection, nor keeps one whose token has expired", async () => {
    const items = database.db.collection<{ _id: number }>("items");
    const follower = await subscribe(gateway.websocketUrl, { interface: "items" });
    await follower.ready();
    const of = async (seconds: number): Promise<{ headers: Record<string, string> }> => ({
      headers: { authorization: `Bearer ${await signed(secret, { sub: "u1", exp: inSeconds(seconds) })}` },
    });
    const lasting = await connectClient(gateway.websocketUrl, await of(3_600));
    const ending = await connectClient(gateway.websocketUrl, await of(3));
    const positions: string[] = [];
    for (const [n, hours] of [0, 48, -48, 9_000, 0].entries()) {
      Date.now = () => realNow() + hours * 3_600_000;
      await items.insertOne({ _id: n });
      await follower.until((rows) => rows.has(String(n)));
      positions.push(follower.position);
    }
    // A day back, so that to the wall clock it has not expired for a long time.
    Date.now = () => realNow() - 86_400_000;
    expect((await ending.closed).code).to.equal(4401);
    Date.now = realNow;
    expect(positions).to.deep.equal([...positions].sort());
    expect(new Set(positions).size).to.equal(5);
    expect([follower.faults, follower.resets]).to.deep.equal([[], []]);
    expect(lasting.socket.readyState).to.equal(1);
    expect((await lasting.take(5)).map(({ data }) => (data as { id: number }).id)).to.deep.equal([0, 1, 2, 3, 4]);
    expect((await fetch(`${gateway.url}/readyz`)).status).to.equal(200);
    await lasting.close();
    await follower.close();
  });
});
