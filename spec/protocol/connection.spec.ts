import { once } from "node:events";
import { expect } from "chai";
import WebSocket from "ws";
import { inSeconds } from "../auth/issuer.js";
import type { TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { bearer, type ProtocolRig, startRig, tokenOf } from "./support.js";

describe("PROTOCOL.md, both modes", () => {
  let rig: ProtocolRig;
  let strict: TestGateway;
  before(async () => {
    rig = await startRig({
      allowedOrigins: ["https://app.example"],
      limits: { messagesPerMinute: 50, connectionsPerUser: 3 },
    });
    strict = await startTestGateway({
      mongo: rig.database.uri,
      interfaces: { items: { read: true } },
      auth: { anonymous: false, closeCode: 4777 },
    });
  });
  afterEach(() => rig.closeClients());
  after(async () => {
    await strict.stop();
    await rig.dispose();
  });
  const closed = async (client: TestClient): Promise<number> => (await client.closed).code;

  it("C1: the subprotocol chooses the mode, and an unknown one is closed with 4406", async () => {
    const plain = await rig.plain();
    expect(plain.socket.protocol).to.equal("");
    const live = await rig.live({ protocols: ["other", "tailgate.v1"] });
    expect(live.socket.protocol).to.equal("tailgate.v1");
    expect(await live.next()).to.include({ type: "welcome" });
    expect(await closed(await rig.plain("", { protocols: ["tailgate.v2"] }))).to.equal(4406);
    expect(plain.received).to.deep.equal([]);
  });

  it("C2: a refused connection opens and is closed with its code before any message", async () => {
    const socket = new WebSocket(`${rig.gateway.websocketUrl}?interfaces=nope`);
    let messages = 0;
    socket.on("message", () => {
      messages += 1;
    });
    await once(socket, "open");
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    expect([code, messages]).to.deep.equal([4400, 0]);
    expect(String(reason)).to.contain("nope");
  });

  it("C3: an unknown parameter is closed with 4400, in both modes", async () => {
    expect(await closed(await rig.plain("?interface=items"))).to.equal(4400);
    expect(await closed(await rig.live({ url: `${rig.gateway.websocketUrl}?since=1` }))).to.equal(4400);
  });

  it("C4: pages of other origins are closed with 4403, programs and allowed pages are not", async () => {
    const open = await rig.plain("", { headers: { origin: "https://app.example" } });
    expect(open.socket.readyState).to.equal(WebSocket.OPEN);
    const evil = { headers: { origin: "https://app.example.evil" } };
    expect(await closed(await rig.plain("", evil))).to.equal(4403);
    // Where origins are configured, the gateway's own host is none of them; elsewhere it is (the strict one wants a token).
    expect(await closed(await rig.plain("", { headers: { origin: rig.gateway.url } }))).to.equal(4403);
    const own = new WebSocket(strict.websocketUrl, { headers: { origin: strict.url } });
    expect((await once(own, "close"))[0]).to.equal(4777);
    expect(await closed(await rig.live(evil))).to.equal(4403);
  });

  it("C5: messages are text frames without compression", async () => {
    const client = await rig.live({ perMessageDeflate: true });
    expect(client.socket.extensions).to.equal("");
    const [, isBinary] = (await Promise.all([once(client.socket, "message"), client.send({ type: "ping" })]))[0];
    expect(isBinary).to.equal(false);
    client.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
    expect(await closed(client)).to.equal(4400);
    const plain = await rig.plain();
    plain.socket.send(Buffer.from("x"), { binary: true });
    await rig.items().insertOne({ _id: 50, group: "a", n: 1 });
    expect(await plain.next()).to.include({ operation: "insert" });
  });

  it("C6: a token goes in the header or in the cookie, and in the query only where that is set", async () => {
    const [ann, bob] = await Promise.all([tokenOf("ann"), tokenOf("bob")]);
    const cookie = `tailgate_token=${bob}`;
    const byHeader = await rig.live({ headers: { ...bearer(ann).headers, cookie } });
    expect(await byHeader.next()).to.deep.include({ user: { sub: "ann" } });
    const byCookie = await rig.live({ headers: { cookie } });
    expect(await byCookie.next()).to.deep.include({ user: { sub: "bob" } });
    expect(await closed(await rig.plain(`?token=${ann}`))).to.equal(4401);
    const lenient = await startRig({ auth: { queryToken: true } });
    const byQuery = await lenient.live({
      url: `${lenient.gateway.websocketUrl}?token=${ann}`,
      headers: { cookie },
    });
    expect(await byQuery.next()).to.deep.include({ user: { sub: "ann" } });
    await lenient.closeClients();
    await lenient.dispose();
  });

  it("C7: a token that is not good, or none where one has to be, is closed with 4401 or what stands for it", async () => {
    const bad = bearer("not.a.token");
    expect(await closed(await rig.plain("", bad))).to.equal(4401);
    expect(await closed(await rig.live(bad))).to.equal(4401);
    expect(await closed(await rig.live(bearer(await tokenOf("ann", { exp: inSeconds(-60) }))))).to.equal(4401);
    const none = new WebSocket(strict.websocketUrl);
    expect((await once(none, "close"))[0]).to.equal(4777);
  });

  it("C8: a connection is closed with 4401 within 5 seconds after its token has expired", async () => {
    const token = await tokenOf("ann", { exp: inSeconds(2) });
    const began = performance.now();
    const clients = [await rig.plain("", bearer(token)), await rig.live(bearer(token))];
    for (const client of clients) expect(await closed(client)).to.equal(4401);
    expect(performance.now() - began).to.be.within(500, 7_000);
  });

  it("C10: too many messages, and too many connections of a user, are closed with 4429", async () => {
    const flood = await rig.live();
    for (let n = 0; n < 51; n++) flood.send({ type: "ping" });
    expect(await closed(flood)).to.equal(4429);
    const token = await tokenOf("cid");
    const open = [await rig.plain("", bearer(token)), await rig.live(bearer(token)), await rig.live(bearer(token))];
    expect(await closed(await rig.plain("", bearer(token)))).to.equal(4429);
    const late = await rig.live();
    late.send({ type: "authenticate", token });
    expect(await closed(late)).to.equal(4429);
    expect(open.map((client) => client.socket.readyState)).to.deep.equal([1, 1, 1]);
  });

  it("C12: every close code of the gateway is in the table", async () => {
    const { closeCodes } = await import("../../src/message.js");
    const { readFile } = await import("node:fs/promises");
    const text = await readFile(new URL("../../PROTOCOL.md", import.meta.url), "utf8");
    const listed = [...text.matchAll(/^\| (\d{4})/gm)].map((match) => Number(match[1]));
    expect(Object.values(closeCodes).filter((code) => !listed.includes(code))).to.deep.equal([]);
    expect(listed.filter((code) => ![...Object.values<number>(closeCodes), 1006].includes(code))).to.deep.equal([]);
  });
});
