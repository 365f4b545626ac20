import { expect } from "chai";
import { inSeconds } from "../auth/issuer.js";
import { startTestGateway } from "../support/gateway.js";
import { bearer, type LiveClient, type ProtocolRig, startRig, tokenOf } from "./support.js";

describe("PROTOCOL.md, a connection with subscriptions", () => {
  let rig: ProtocolRig;
  /** Where anonymous connections are not allowed. */
  let strict: ProtocolRig;
  before(async () => {
    rig = await startRig();
    strict = await startRig({ auth: { anonymous: false } });
  });
  beforeEach(async () => {
    await rig.items().deleteMany({});
    await rig.settle();
  });
  afterEach(async () => {
    await rig.closeClients();
    await strict.closeClients();
  });
  after(async () => {
    await rig.dispose();
    await strict.dispose();
  });
  const closed = async (client: LiveClient): Promise<number> => (await client.closed).code;

  it("S1: welcome comes first, with the user and all limits", async () => {
    const anonymous = await rig.live();
    expect(await anonymous.next()).to.deep.equal({
      type: "welcome",
      user: null,
      limits: {
        payloadKilobytes: 16,
        subscriptionsPerConnection: 128,
        connectionsPerUser: 20,
        messagesPerMinute: 600,
        bufferedMegabytes: 1,
        idleSeconds: 60,
      },
    });
    const ann = await rig.live(bearer(await tokenOf("ann", { email: "ann@example" })));
    expect((await ann.next()).user).to.deep.equal({ sub: "ann" });
  });

  it("S2: messages are handled in their order, also those sent before the welcome", async () => {
    const client = await strict.live();
    client.send({ type: "authenticate", token: await tokenOf("ann") });
    client.send({ type: "subscribe", id: 1, interface: "items", snapshot: false });
    client.send({ type: "unsubscribe", id: 1 });
    client.send({ type: "ping" });
    const types = (await client.take(4)).map(({ type }) => type);
    expect(types).to.deep.equal(["welcome", "ready", "unsubscribed", "pong"]);
  });

  it("S3: without a token in the handshake, authenticate is the first message, and no other", async () => {
    const client = await strict.live();
    client.send({ type: "authenticate", token: await tokenOf("ann") });
    expect(await client.next()).to.deep.include({ type: "welcome", user: { sub: "ann" } });
    for (const first of [{ type: "ping" }, { type: "subscribe", id: 1, interface: "items" }]) {
      const hasty = await strict.live();
      hasty.send(first);
      expect(await closed(hasty)).to.equal(4401);
      expect(hasty.received).to.deep.equal([]);
    }
  });

  it("S4: who does not authenticate within 10 s is closed with 4408", async () => {
    const began = performance.now();
    const silent = await strict.live();
    expect(await closed(silent)).to.equal(4408);
    expect(performance.now() - began).to.be.within(9_500, 25_000);
  });

  it("S5: a new token takes the place of the old one, and has to be good and the same user's", async () => {
    const client = await rig.live(bearer(await tokenOf("ann", { exp: inSeconds(4) })));
    client.send({ type: "authenticate", token: await tokenOf("ann", { exp: inSeconds(600) }) });
    const [first, second] = await client.take(2);
    expect(second).to.deep.equal(first);
    const shorter = await rig.live(bearer(await tokenOf("ann")));
    shorter.send({ type: "authenticate", token: await tokenOf("ann", { exp: inSeconds(4) }) });
    // The one whose token was to expire as early, too, has outlived it.
    expect(await closed(shorter)).to.equal(4401);
    await client.quiet();

    client.send({ type: "authenticate", token: "x.y.z" });
    expect(await closed(client)).to.equal(4401);
    const other = await rig.live(bearer(await tokenOf("ann")));
    other.send({ type: "authenticate", token: await tokenOf("bob") });
    expect(await closed(other)).to.equal(4403);
    const anonymous = await rig.live();
    anonymous.send({ type: "authenticate", token: await tokenOf("bob") });
    const users = (await anonymous.take(2)).map(({ user }) => user);
    expect(users).to.deep.equal([null, { sub: "bob" }]);
  });

  it("S6: other claims begin a subscription anew, or end it, and leave the others alone", async () => {
    await rig.items().insertMany([
      { _id: 1, group: "a", n: 1, owner: "ann" },
      { _id: 2, group: "b", n: 2, owner: "ann" },
    ]);
    const client = await rig.live(bearer(await tokenOf("ann", { groups: ["a"] })));
    await client.subscribe({ id: "team", interface: "team" });
    await client.subscribe({ id: "mine", interface: "mine" });
    client.send({ type: "authenticate", token: await tokenOf("ann", { groups: ["b"] }) });
    const [welcome, reset, rows, ready] = await client.take(4);
    expect(welcome).to.include({ type: "welcome" });
    expect(reset).to.include({ type: "reset", id: "team", reason: "rule-changed" });
    expect(rows?.data).to.deep.equal([{ id: 2, group: "b", n: 2 }]);
    expect(ready).to.include({ type: "ready", id: "team", recovered: false });

    client.send({ type: "authenticate", token: await tokenOf("ann") });
    const [, error] = await client.take(2);
    expect(error).to.include({ type: "error", id: "team", code: "unknown-interface", status: 404 });
    await rig.items().insertOne({ _id: 3, group: "b", n: 3, owner: "ann" });
    expect(await client.next()).to.deep.include({ interface: "mine", data: { id: 3, group: "b", n: 3 } });
    expect(await client.quiet()).to.deep.equal([]);
  });

  describe("S7: what is no good message", () => {
    for (const text of [
      "{",
      "[]",
      "null",
      "5",
      '{"type":"dance"}',
      '{"type":"ping","more":1}',
      '{"type":"subscribe"}',
    ]) {
      it(`is closed with 4400 without an id: ${text}`, async () => {
        const client = await rig.live();
        client.socket.send(text);
        expect(await closed(client)).to.equal(4400);
      });
    }
    for (const more of [
      { type: "dance" },
      { type: "subscribe" },
      { type: "subscribe", interface: "items", sinc: "" },
    ]) {
      it(`is answered with an id: ${JSON.stringify(more)}`, async () => {
        const client = await rig.live();
        await client.next();
        client.send({ id: "x", ...more });
        expect(await client.next()).to.include({ type: "error", id: "x", status: 400, code: "bad-message" });
        await client.quiet();
      });
    }
    it("is closed with 4400 before the first welcome, id or not", async () => {
      const client = await strict.live();
      client.send({ type: "subscribe", id: 1, more: true });
      expect(await closed(client)).to.equal(4400);
      expect(client.received).to.deep.equal([]);
    });
  });

  it("S8: an error leaves the connection and its other subscriptions, and the id is free again", async () => {
    const client = await rig.live();
    await client.subscribe({ id: 1, interface: "items" });
    const refusals: [message: object, code: string, status: number][] = [
      [{ type: "subscribe", id: 2, interface: "nope" }, "unknown-interface", 404],
      [{ type: "subscribe", id: 2, interface: "secret" }, "unknown-interface", 404],
      [{ type: "subscribe", id: 2, interface: "mine" }, "unknown-interface", 404],
      [{ type: "subscribe", id: 2, interface: "items", filter: { $where: "1" } }, "operator-not-supported", 400],
      [{ type: "subscribe", id: 2, interface: "items", filter: { hidden: 1 } }, "path-not-filterable", 400],
      [{ type: "subscribe", id: 2, interface: "items", fields: ["hidden"] }, "bad-fields", 400],
      [{ type: "subscribe", id: 1, interface: "items" }, "duplicate-id", 409],
      [{ type: "unsubscribe", id: 2 }, "unknown-subscription", 404],
      [{ type: "subscribe", id: 1, interface: 1 }, "bad-message", 400],
    ];
    for (const [message, code, status] of refusals) {
      client.send(message);
      const error = await client.next();
      expect(error).to.include({ type: "error", code, status, id: (message as { id: number }).id });
      expect(error).to.have.all.keys("type", "id", "status", "code", "title", "detail");
    }
    expect((await client.subscribe({ id: 2, interface: "items" })).map(({ type }) => type)).to.deep.equal([
      "snapshot",
      "ready",
    ]);
    await rig.items().insertOne({ _id: 1, group: "a", n: 1 });
    expect(await client.next()).to.include({ operation: "insert" });
  });

  it("S8: a rule of the application's that throws is an error of that subscription alone", async () => {
    const broken = (): boolean => {
      throw new Error("a fault of the application's");
    };
    const gateway = await startTestGateway({
      mongo: rig.database.uri,
      interfaces: { items: { read: true }, broken: { collection: "blind", read: broken } },
    });
    const client = await rig.live({ url: gateway.websocketUrl });
    await client.subscribe({ id: 1, interface: "items" });
    client.send({ type: "subscribe", id: 2, interface: "broken" });
    expect(await client.next()).to.include({ type: "error", id: 2, status: 500, code: "internal" });
    await rig.items().insertOne({ _id: 1, group: "a", n: 1 });
    expect(await client.next()).to.include({ operation: "insert" });
    await gateway.stop();
  });

  it("S8: more subscriptions than the limit are refused, and those that are there go on", async () => {
    const narrow = await startRig({ limits: { subscriptionsPerConnection: 2 } });
    const client = await narrow.live();
    for (const id of [1, 2]) await client.subscribe({ id, interface: "items" });
    client.send({ type: "subscribe", id: 3, interface: "items" });
    expect(await client.next()).to.include({ type: "error", id: 3, status: 429, code: "too-many-subscriptions" });
    client.send({ type: "unsubscribe", id: 1 });
    await client.next();
    await client.subscribe({ id: 3, interface: "items" });
    await narrow.closeClients();
    await narrow.dispose();
  });
});
