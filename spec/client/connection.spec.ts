import { expect } from "chai";
import WebSocket from "ws";
import { ClientError } from "../../src/client/error.js";
import { connect as connectPlain } from "../../src/client/index.js";
import type { Client, Doc, LiveUpdate, WebSocketLike } from "../../src/client/types.js";
import { signed } from "../auth/issuer.js";
import { eventually, metricOf } from "../support/eventually.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { startProxy } from "../support/proxy.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { becomes, closeClients, heard, open, until } from "./support.js";

const secret = "a-secret-of-at-least-32-characters";
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

describe("a connection of the client library", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  const items = () => database.db.collection<{ _id: number; team: string }>("items");
  const settings = () => ({
    mongo: database.uri,
    interfaces: { items: { read: { team: "$user.team" } } },
    auth: { anonymous: false, jwt: { secret } },
  });
  const follow = (client: Client) => client.interface<Doc>("items").live();

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    await items().insertMany([
      { _id: 1, team: "red" },
      { _id: 2, team: "blue" },
    ]);
    gateway = await startTestGateway(settings());
  });
  afterEach(closeClients);
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("signs in with what it is given, and says who it is", async () => {
    const client = open(gateway.websocketUrl, { token: await signed(secret, { sub: "u1", team: "red" }) });
    expect([client.state, client.user]).to.deep.equal(["connecting", undefined]);
    expect(await follow(client).ready()).to.deep.equal([{ id: 1, team: "red" }]);
    expect([client.state, client.user, client.error]).to.deep.equal(["open", { sub: "u1" }, undefined]);
  });

  it("asks for a new token before the old one expires, and goes on with it undisturbed", async () => {
    let asked = 0;
    const token = (): Promise<string> => {
      asked += 1;
      return signed(secret, { sub: "u1", team: "red", exp: inSeconds(asked === 1 ? 3 : 600) });
    };
    const client = open(gateway.websocketUrl, { token });
    let welcomes = 0;
    client.subscribe(({ state }) => {
      if (state === "open") welcomes += 1;
    });
    const live = follow(client);
    const updates: LiveUpdate<Doc>[] = heard(live);
    await live.ready();
    await eventually(() => welcomes === 2);
    await items().insertOne({ _id: 3, team: "red" });
    await until(live, ({ docs }) => docs.length === 2);
    expect(updates.map(({ state }) => state)).not.to.include("away");
    expect(asked).to.equal(2);
    await items().deleteOne({ _id: 3 });
  });

  it("with other rights after `renew` shows what those allow, and nothing of before", async () => {
    let team = "red";
    const client = open(gateway.websocketUrl, { token: () => signed(secret, { sub: "u1", team }) });
    const live = follow(client);
    await live.ready();
    const updates = heard(live);
    team = "blue";
    await client.renew();
    await until(live, ({ docs }) => docs.some(({ id }) => id === 2));
    const shown = updates.map(({ docs }) => docs.map(({ id }) => id).join());
    const steps = shown.filter((each, index) => each !== shown[index - 1] && each !== "");
    expect(steps).to.deep.equal(["1", "2"]);
    expect(live.docs).to.deep.equal([{ id: 2, team: "blue" }]);
    expect(updates.map(({ state }) => state)).not.to.include("away");
  });

  it("that is refused asks for another token, and for no third where that one is good", async () => {
    const tokens = ["no token", await signed(secret, { sub: "u1", team: "red" })];
    let asked = 0;
    const client = open(gateway.websocketUrl, { token: () => tokens[asked++] });
    expect((await follow(client).ready()).length).to.equal(1);
    expect(asked).to.equal(2);
  });

  it("ends, with all that is live on it, where there is no other token", async () => {
    const client = open(gateway.websocketUrl, { token: "no token" });
    const live = follow(client);
    await becomes(client, "closed");
    expect(client.error).to.be.instanceOf(ClientError).and.to.include({ code: "unauthorized", closeCode: 4401 });
    expect([live.state, live.error]).to.deep.equal(["ended", client.error]);
    const late = follow(client);
    expect([late.state, late.error]).to.deep.equal(["ended", client.error]);
  });

  it("ends where the gateway will never have it", async () => {
    class FromElsewhere extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, { origin: "https://elsewhere.example" });
      }
    }
    const token = await signed(secret, { sub: "u1", team: "red" });
    const client = open(gateway.websocketUrl, { token, WebSocket: FromElsewhere });
    await becomes(client, "closed");
    expect(client.error).to.include({ code: "forbidden", closeCode: 4403 });
  });

  it("is made anew for another user", async () => {
    let [sub, team] = ["u1", "red"];
    const client = open(gateway.websocketUrl, { token: () => signed(secret, { sub, team }) });
    const live = follow(client);
    await live.ready();
    [sub, team] = ["u2", "blue"];
    await client.renew();
    expect(live.docs).to.deep.equal([]);
    expect(await live.ready()).to.deep.equal([{ id: 2, team: "blue" }]);
    expect(client.user).to.deep.equal({ sub: "u2" });
  });

  it("waits, and asks again, where no token can be had", async () => {
    let asked = 0;
    const token = async (): Promise<string> => {
      asked += 1;
      if (asked < 3) throw new Error("the identity provider is away");
      return signed(secret, { sub: "u1", team: "red" });
    };
    const client = open(gateway.websocketUrl, { token });
    const errors: unknown[] = [];
    client.subscribe(({ error }) => errors.push(error?.code));
    await follow(client).ready();
    expect(errors).to.include("no-token");
    expect([asked, client.error]).to.deep.equal([3, undefined]);
  });

  it("is taken for lost where nothing is heard for long, and made anew", async () => {
    const proxy = await startProxy({ port: gateway.gateway.port });
    const token = await signed(secret, { sub: "u1", team: "red" });
    const client = open(`ws://127.0.0.1:${proxy.port}/ws`, { token, silenceMilliseconds: 1_000 });
    const live = follow(client);
    await live.ready();
    // Nobody is told that a cable was pulled.
    proxy.blackhole();
    await until(live, ({ state }) => state === "away");
    expect(client.error).to.include({ code: "connection-lost" });
    proxy.heal();
    await until(live, ({ state }) => state === "live");
    await proxy.close();
  });

  it("is not lost for a silence that its question ends", async () => {
    let pongs = 0;
    const answered = (chunk: Buffer): Buffer => {
      if (chunk.includes('"pong"')) pongs += 1;
      return chunk;
    };
    const proxy = await startProxy({ port: gateway.gateway.port }, { answered });
    const token = await signed(secret, { sub: "u1", team: "red" });
    const client = open(`ws://127.0.0.1:${proxy.port}/ws`, { token, silenceMilliseconds: 1_000 });
    const states: string[] = [];
    client.subscribe(({ state }) => states.push(state));
    await eventually(() => pongs === 3);
    expect(states).to.deep.equal(["connecting", "open"]);
    await proxy.close();
  });

  it("closes for good when it is told to, on the gateway's side too", async () => {
    const client = open(gateway.websocketUrl, { token: await signed(secret, { sub: "u9", team: "red" }) });
    const live = follow(client);
    await live.ready();
    client.close();
    client.close();
    expect([client.state, client.error, live.state, live.error]).to.deep.equal([
      "closed",
      undefined,
      "ended",
      undefined,
    ]);
    await eventually(async () => (await metricOf(gateway.url, "tailgate_connections")) === 0);
  });

  it("goes on where one listener throws", async () => {
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", (error) => thrown.push(error));
    try {
      const client = open(gateway.websocketUrl, { token: await signed(secret, { sub: "u1", team: "red" }) });
      const live = follow(client);
      const fault = new Error("a fault of the page's");
      const leave = live.subscribe(() => {
        throw fault;
      });
      const { docs } = await until(live, ({ state }) => state === "live");
      expect(docs.length).to.equal(1);
      await eventually(() => thrown.length >= 2);
      expect([...new Set(thrown)]).to.deep.equal([fault]);
      leave();
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
  });

  it("can't be made of what is no address, or without a WebSocket", () => {
    expect(() => open("no address")).to.throw(TypeError);
    const none = { WebSocket: undefined as unknown as new () => WebSocketLike };
    const own = globalThis.WebSocket;
    try {
      Object.assign(globalThis, { WebSocket: undefined });
      expect(() => connectPlain(gateway.websocketUrl, none)).to.throw(TypeError, "WebSocket");
    } finally {
      Object.assign(globalThis, { WebSocket: own });
    }
  });
});
