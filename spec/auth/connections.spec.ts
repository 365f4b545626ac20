import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { Options, SessionRequest } from "../../src/config/settings.js";
import { connectClient, type TestClient } from "../support/client.js";
import { runCommand, startTestGateway, type TestGateway, temporaryFiles } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { createKey, type Issuer, type IssuerKey, inSeconds, signed, startIssuer } from "./issuer.js";

const secret = "canary-secret-of-at-least-32-bytes!";

describe("authenticated connections and requests", () => {
  let database: SpecDatabase;
  const gateways: TestGateway[] = [];
  const clients: TestClient[] = [];

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("notes", { changeStreamPreAndPostImages: { enabled: true } });
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.close();
    for (const gateway of gateways.splice(0)) await gateway.stop();
    await database.db.collection("notes").deleteMany({});
  });
  after(() => database.dispose());

  async function start(auth: Options["auth"], more: Omit<Options, "mongo" | "auth"> = {}): Promise<TestGateway> {
    const gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        notes: { read: { owner: "$user.sub" }, fields: ["text"] },
        boards: { collection: "notes", read: { team: { $in: "$user.teams" } }, fields: ["text"] },
        open: { read: true },
      },
      ...more,
      auth: auth ?? {},
    });
    gateways.push(gateway);
    return gateway;
  }

  async function open(gateway: TestGateway, token: string | undefined, query = ""): Promise<TestClient> {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const client = await connectClient(gateway.websocketUrl + query, { headers });
    clients.push(client);
    return client;
  }

  const get = (gateway: TestGateway, path: string, token: string): Promise<Response> =>
    fetch(`${gateway.url}/api/${path}`, { headers: { authorization: `Bearer ${token}` } });
  const idsOf = async (response: Response): Promise<unknown[]> =>
    ((await response.json()) as { data: { id: unknown }[] }).data.map(({ id }) => id);

  it("show each user what is theirs, on the stream and in the API, and nothing else", async () => {
    const gateway = await start({ jwt: { secret } });
    const [ann, bob] = await Promise.all([
      signed(secret, { sub: "ann", teams: ["red", "blue"] }),
      signed(secret, { sub: "bob", teams: ["green"] }),
    ]);
    const [annsNotes, bobsNotes] = [await open(gateway, ann, "?interfaces=notes"), await open(gateway, bob)];
    const annsBoards = await open(gateway, ann, "?interfaces=boards");
    const notes = database.db.collection<{ _id: number; owner: string; team: string; text: string }>("notes");
    await notes.insertMany([
      { _id: 1, owner: "bob", team: "green", text: "canary" },
      { _id: 2, owner: "ann", team: "red", text: "a" },
      { _id: 3, owner: "$user.sub", team: "$user.teams", text: "canary" },
    ]);
    // One after another: SecantusDB may show an update as the document was later, even as removed.
    const annsFirst = await annsNotes.take(1);
    await notes.updateOne({ _id: 2 }, { $set: { text: "b" } });
    annsFirst.push(...(await annsNotes.take(1)));
    await notes.updateOne({ _id: 2 }, { $set: { owner: "bob" } });
    annsFirst.push(...(await annsNotes.take(1)));
    await notes.deleteMany({});
    await notes.insertOne({ _id: 9, owner: "ann", team: "blue", text: "end" });
    const isEnd = (message: Record<string, unknown>): boolean => (message.data as { id?: unknown }).id === 9;
    const rows = (messages: Record<string, unknown>[]): unknown[] =>
      messages.map(({ operation, data }) => [operation, data]);
    expect(rows([...annsFirst, ...(await annsNotes.until(isEnd))])).to.deep.equal([
      ["insert", { id: 2, text: "a" }],
      ["update", { id: 2, text: "b" }],
      ["delete", [2]],
      ["insert", { id: 9, text: "end" }],
    ]);
    expect(rows(await annsBoards.until(isEnd))).to.deep.equal([
      ["insert", { id: 2, text: "a" }],
      ["update", { id: 2, text: "b" }],
      ["delete", [2]],
      ["insert", { id: 9, text: "end" }],
    ]);
    expect(JSON.stringify([annsNotes.received, annsBoards.received])).to.not.contain("canary");
    // Bob's has everything of his, on both interfaces; the two share no order.
    const bobs = (await bobsNotes.take(5)).map(({ interface: name, operation, data }) =>
      JSON.stringify([name, operation, data]),
    );
    expect(bobs.filter((row) => row.startsWith('["notes"'))).to.deep.equal([
      '["notes","insert",{"id":1,"text":"canary"}]',
      '["notes","insert",{"id":2,"text":"b"}]',
      '["notes","delete",[1,2]]',
    ]);
    expect(bobs.filter((row) => row.startsWith('["boards"'))).to.deep.equal([
      '["boards","insert",{"id":1,"text":"canary"}]',
      '["boards","delete",[1]]',
    ]);

    expect(await idsOf(await get(gateway, "notes", ann))).to.deep.equal([9]);
    expect(await idsOf(await get(gateway, "notes", bob))).to.deep.equal([]);
    expect(await idsOf(await get(gateway, "boards", ann))).to.deep.equal([9]);
    expect((await get(gateway, "notes/9", ann)).status).to.equal(200);
    expect((await get(gateway, "notes/9", bob)).status).to.equal(404);
    const cookie = { headers: { cookie: `tailgate_token=${ann}` } };
    expect(await idsOf(await fetch(`${gateway.url}/api/notes`, cookie))).to.deep.equal([9]);
  });

  it("are refused with a bad token even where anonymous ones are allowed, expired told apart", async () => {
    const gateway = await start({ jwt: { secret }, anonymous: true, closeCode: 4301 });
    const expired = await signed(secret, { sub: "u1", exp: inSeconds(-60) });
    const forged = await signed(`${secret}!`, { sub: "u1" });
    for (const [token, reason, says] of [
      [expired, "expired", "the token has expired"],
      [forged, "invalid", "the token's signature is not right"],
    ] as const) {
      expect(await (await open(gateway, token)).closed).to.deep.equal({ code: 4301, reason: says });
      const response = await get(gateway, "open", token);
      expect(response.status).to.equal(401);
      expect(response.headers.get("www-authenticate")).to.equal('Bearer error="invalid_token"');
      expect(await response.json()).to.deep.include({ code: "bad-token", reason, detail: says });
    }
    expect((await open(gateway, undefined)).socket.readyState).to.equal(1);
    expect((await fetch(`${gateway.url}/api/open`)).status).to.equal(200);
  });

  it("take a token in the query of a websocket only where that is allowed", async () => {
    const token = await signed(secret, { sub: "u1" });
    const strict = await start({ jwt: { secret }, anonymous: true });
    expect((await (await open(strict, undefined, `?token=${token}`)).closed).code).to.equal(4401);
    const loose = await start({ jwt: { secret }, queryToken: true });
    expect((await open(loose, undefined, `?interfaces=open&token=${token}`)).socket.readyState).to.equal(1);
    expect((await fetch(`${loose.url}/api/open?token=${token}`)).status).to.equal(401);
  });

  it("are never cut as they open, and the binary has nothing to complain of", async () => {
    const files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({
        mongo: database.uri,
        port: 0,
        interfaces: { items: { read: true } },
        auth: { jwt: { secret } },
        limits: { connectionsPerUser: 1_000 },
      }),
    });
    const headers = { authorization: `Bearer ${await signed(secret, { sub: "ann" })}` };
    // The first connections of a process were cut the most.
    for (let process = 0; process < 3; process++) {
      const command = runCommand(["serve", "--config", "tailgate.config.json"], {}, files.folder);
      const started = JSON.parse(await command.line(/gateway started/)) as { port: number };
      const url = `ws://127.0.0.1:${started.port}/ws`;
      const clients = await Promise.all(Array.from({ length: 100 }, () => connectClient(url, { headers })));
      await database.db.collection<{ _id: number }>("items").insertOne({ _id: process });
      for (const client of clients) expect(await client.next()).to.deep.include({ data: { id: process } });
      command.kill();
      for (const client of clients) expect((await client.closed).code).to.equal(1001);
      expect(await command.exit).to.equal(0);
      expect(
        command
          .errors()
          .split("\n")
          .filter((line) => line !== "" && !line.startsWith("{")),
      ).to.deep.equal([]);
    }
    await files.dispose();
  }).timeout(60_000);

  it("are told nothing of what a rule hides, and the log has the rule's name", async () => {
    const gateway = await start({ jwt: { secret }, anonymous: true });
    const token = await signed(secret, { sub: "ann" });
    const denials = () =>
      gateway.logged
        .filter(({ msg }) => msg === "read denied by a rule")
        .map(({ interface: name, rule, user }) => [name, rule, user]);
    // Without `teams` nothing of `boards` is to be read.
    expect((await get(gateway, "boards", token)).status).to.equal(404);
    expect(denials()).to.deep.equal([["boards", "read", "ann"]]);
    const plain = await open(gateway, token, "?interfaces=boards");
    expect((await plain.closed).code).to.equal(4400);
    const live = await connectClient(gateway.websocketUrl, { protocols: ["tailgate.v1"] });
    clients.push(live);
    live.socket.send(JSON.stringify({ type: "subscribe", id: 1, interface: "boards" }));
    await live.until(({ code }) => code === "unknown-interface");
    expect(denials().slice(1)).to.deep.equal([
      ["boards", "read", "ann"],
      ["boards", "read", null],
    ]);
    // A connection to all that it may read asks for nothing that it may not.
    await open(gateway, token);
    expect(denials()).to.have.length(3);
  });

  describe("end when their token does (hazard 34)", () => {
    it("with the configured code, within 5 seconds, while others stay", async () => {
      const gateway = await start({ jwt: { secret }, closeCode: 4302 });
      const exp = inSeconds(2);
      const short = await Promise.all(
        Array.from({ length: 20 }, async (_, n) => open(gateway, await signed(secret, { sub: `u${n}`, exp }))),
      );
      const long = await open(gateway, await signed(secret, { sub: "u1", exp: inSeconds(3_000_000_000) }));
      const endless = await open(gateway, await signed(secret, { sub: "u1" }));
      for (const client of short) {
        expect(await client.closed).to.deep.equal({ code: 4302, reason: "the token has expired" });
      }
      expect(Date.now() / 1_000 - exp).to.be.within(0, 5);
      expect([long.socket.readyState, endless.socket.readyState]).to.deep.equal([1, 1]);
      await database.db.collection<{ _id: number }>("open").insertOne({ _id: 1 });
      expect(await long.next()).to.deep.include({ interface: "open", data: { id: 1 } });
    });

    it("and don't begin with one that only the tolerance for clocks keeps good", async () => {
      const gateway = await start({ jwt: { secret } });
      const token = await signed(secret, { sub: "u1", exp: inSeconds(-1) });
      expect(await (await open(gateway, token)).closed).to.deep.equal({ code: 4401, reason: "the token has expired" });
      // Refused, as opposed to opened and ended soon after.
      expect(gateway.logged.filter(({ msg }) => msg === "connection refused").length).to.equal(1);
      expect((await get(gateway, "open", token)).status).to.equal(200);
    });
  });

  it("are limited for each user with 4429, and anonymous ones are not", async () => {
    const gateway = await start({ jwt: { secret }, anonymous: true }, { limits: { connectionsPerUser: 3 } });
    const [ann, bob] = await Promise.all([signed(secret, { sub: "ann" }), signed(secret, { sub: "bob" })]);
    const anns = [];
    for (let n = 0; n < 3; n++) anns.push(await open(gateway, ann));
    expect((await (await open(gateway, ann)).closed).code).to.equal(4429);
    expect((await open(gateway, bob)).socket.readyState).to.equal(1);
    for (let n = 0; n < 5; n++) expect((await open(gateway, undefined)).socket.readyState).to.equal(1);
    // Neither the refused one nor the one that closes keeps a place.
    await anns[0]?.close();
    const again = await open(gateway, ann);
    await database.db.collection<{ _id: number }>("open").insertOne({ _id: 2 });
    expect(await again.next()).to.deep.include({ interface: "open" });
    expect((await (await open(gateway, ann)).closed).code).to.equal(4429);
  });

  it("are cut or answered when the head of their request is too long, and the gateway goes on", async () => {
    const gateway = await start({ jwt: { secret } });
    const long = await signed(secret, { sub: "u1", pad: "x".repeat(60_000) });
    const socket = connect(gateway.gateway.port, "127.0.0.1");
    await once(socket, "connect");
    let answer = "";
    // An answered connection may stay open for some seconds: what else could come is of no interest.
    const answered = new Promise<void>((resolve) => {
      socket.on("data", (data) => {
        answer += data;
        if (answer.includes("\r\n\r\n")) resolve();
      });
    });
    socket.on("error", () => {
      // It may be reset while it is still sending.
    });
    socket.write(
      `GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Bearer ${long}\r\n\r\n`,
    );
    await Promise.race([once(socket, "close"), answered]);
    socket.destroy();
    expect(answer).to.match(/^(HTTP\/1\.1 431|$)/);
    expect([400, 431, "TypeError"]).to.include(
      await get(gateway, "open", long).then(
        ({ status }) => status,
        (error: Error) => error.name,
      ),
    );
    const fitting = await signed(secret, { sub: "u1", pad: "x".repeat(2_000) });
    expect((await open(gateway, fitting)).socket.readyState).to.equal(1);
    expect((await get(gateway, "open", fitting)).status).to.equal(200);
  });

  describe("whose issuer", () => {
    let issuer: Issuer;
    let key: IssuerKey;

    before(async () => {
      key = await createKey("k1");
    });
    beforeEach(async () => {
      issuer = await startIssuer([key.jwk]);
    });
    afterEach(() => issuer.close());

    it("is away when the gateway starts are told so, and the others served", async () => {
      const { answer } = issuer;
      issuer.answer = (response) => void response.writeHead(500).end();
      const gateway = await start({ jwt: { jwksUrl: issuer.url, secret } }, { http: { retries: 0 } });
      const token = await key.sign({ sub: "u1" });
      const { code, reason } = await (await open(gateway, token)).closed;
      expect(code).to.equal(4500);
      expect(reason).to.contain("tokens can't be checked now");
      const response = await get(gateway, "open", token);
      expect(response.status).to.equal(503);
      expect(response.headers.get("retry-after")).to.equal("1");
      expect(await response.json()).to.deep.include({ code: "auth-unavailable" });
      expect(gateway.logged.some((line) => line.msg === "key set not fetched")).to.equal(true);
      expect((await open(gateway, await signed(secret, { sub: "u2" }))).socket.readyState).to.equal(1);
      issuer.answer = answer;
      let client = await open(gateway, token);
      while (client.socket.readyState !== 1) {
        await client.closed;
        await sleep(200);
        client = await open(gateway, token);
      }
    });

    it("is slow wait for it, even if their client gives up meanwhile", async () => {
      const gateway = await start({ jwt: { jwksUrl: issuer.url } });
      const { answer } = issuer;
      const asked = new Promise<ServerResponse>((resolve) => {
        issuer.answer = resolve;
      });
      const token = await key.sign({ sub: "u1" });
      const gone = connectClient(gateway.websocketUrl, {
        headers: { authorization: `Bearer ${token}` },
        handshakeTimeout: 500,
      });
      const waiting = open(gateway, token);
      const response = await asked;
      expect((await (await gone).closed).code).to.equal(1006);
      answer(response);
      expect((await waiting).socket.readyState).to.equal(1);
      const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
      expect(metrics).to.contain('tailgate_connections{mode="plain"} 1');
      await (await waiting).close();
      const deadline = performance.now() + 5_000;
      for (;;) {
        const text = await (await fetch(`${gateway.url}/metrics`)).text();
        if (/^tailgate_views 0$/m.test(text)) break;
        if (performance.now() > deadline) throw new Error("views are left over");
      }
    });
  });

  it("are known by sessions of the application, which is told the whole request", async () => {
    const asked: SessionRequest[] = [];
    const gateway = await start({
      sessions: async (request) => {
        asked.push(request);
        const sub = /session=(\w+)/.exec(request.headers.cookie ?? "")?.[1];
        if (sub === "broken") throw new Error("the store is away");
        return sub === undefined ? null : { sub };
      },
    });
    await database.db.collection("notes").insertMany([
      { _id: 1 as never, owner: "ann" },
      { _id: 2 as never, owner: "bob" },
    ]);
    const as = (sub: string) => ({ headers: { cookie: `session=${sub}` } });
    expect(await idsOf(await fetch(`${gateway.url}/api/notes?limit=5`, as("bob")))).to.deep.equal([2]);
    expect(asked.at(-1)).to.deep.include({ method: "GET", url: "/api/notes?limit=5", remoteAddress: "127.0.0.1" });
    expect(JSON.stringify(asked.at(-1)?.headers)).to.not.contain("tailgate-peer");
    const client = await connectClient(`${gateway.websocketUrl}?interfaces=notes`, as("bob"));
    clients.push(client);
    expect(asked.at(-1)).to.deep.include({ method: "GET", url: "/ws?interfaces=notes", remoteAddress: "127.0.0.1" });
    expect(asked.at(-1)?.headers).to.deep.include({ cookie: "session=bob", upgrade: "websocket" });
    await database.db.collection("notes").deleteMany({});
    expect(await client.next()).to.deep.include({ operation: "delete", data: [2] });

    expect((await (await connectClient(gateway.websocketUrl)).closed).code).to.equal(4401);
    expect((await fetch(`${gateway.url}/api/notes`)).status).to.equal(401);
    expect((await (await connectClient(gateway.websocketUrl, as("broken"))).closed).code).to.equal(4500);
    expect((await fetch(`${gateway.url}/api/notes`, as("broken"))).status).to.equal(503);
  });

  it("leave neither token nor secret in logs, answers and metrics (hazard 42)", async () => {
    const gateway = await start({ jwt: { secret }, queryToken: true });
    const forged = `${Buffer.from('{"alg":"HS256"}').toString("base64url")}.canary-payload.canary-signature`;
    const good = await signed(secret, { sub: "u1", pin: "canary-claim" });
    const bad = await signed(secret, { sub: "u1", pin: "canary-claim", exp: inSeconds(-60) });
    const seen: string[] = [];
    for (const token of [forged, good, bad]) {
      const mark = token.slice(-24);
      for (const attempt of [
        () => open(gateway, token, "?interfaces=nope"),
        () => open(gateway, undefined, `?token=${token}&interfaces=nope`),
        () => connectClient(gateway.websocketUrl, { headers: { cookie: `tailgate_token=${token}` } }),
        () => connectClient(gateway.websocketUrl, { protocols: [token] }),
      ]) {
        const client = await attempt();
        if (client.socket.readyState === 1 && client.received.length === 0) client.socket.close();
        seen.push((await client.closed).reason);
      }
      const answers = [await get(gateway, "nope", token), await get(gateway, `open?token=${token}`, token)];
      for (const answer of answers) seen.push(await answer.text(), JSON.stringify([...answer.headers]));
      seen.push(JSON.stringify(gateway.logged), await (await fetch(`${gateway.url}/metrics`)).text());
      expect(seen.join("\n")).to.not.contain(mark);
    }
    const claim = Buffer.from('"canary').toString("base64url").slice(0, 8);
    for (const text of ["canary", claim]) expect(seen.join("\n")).to.not.contain(text);
  });
});
