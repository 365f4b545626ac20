import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "chai";
import { closeError, remedyFor } from "../../src/client/error.js";
import { renewAfter } from "../../src/client/tokens.js";
import type { Client, Doc, Live, LiveUpdate } from "../../src/client/types.js";
import { backoff, pauseAfterRefusal, waitFor } from "../../src/client/wait.js";
import { turnOfTheEventLoop } from "../../src/retry.js";
import { eventually } from "../support/eventually.js";
import { type Scripted, type ScriptedConnection, startScripted } from "./scripted.js";
import { becomes, closeClients, heard, open, until } from "./support.js";

type Row = Doc & { id: number; n?: number };

const at = (place: number): string => place.toString(16).padStart(32, "0");
const jwt = (claims: object): string => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
const seconds = (milliseconds: number): number => Math.floor((Date.now() + milliseconds) / 1_000);

describe("the client library, as the protocol says", () => {
  let gateway: Scripted;
  let client: Client;
  let connection: ScriptedConnection;

  beforeEach(async () => {
    gateway = await startScripted();
  });
  afterEach(async () => {
    closeClients();
    await gateway.dispose();
  });

  async function connect(): Promise<void> {
    client = open(gateway.url);
    connection = await gateway.next();
    connection.welcome();
    await becomes(client, "open");
  }

  async function joined(...rows: Row[]): Promise<{ live: Live<Row>; id: number }> {
    const live = client.interface<Row>("items").live();
    const { id } = (await connection.next("subscribe")) as { id: number };
    connection.send(snapshot(id, ...rows), ready(id, 10));
    await live.ready();
    return { live, id };
  }

  const snapshot = (id: number, ...data: Row[]) => ({ type: "snapshot", id, interface: "items", data, last: true });
  const ready = (id: number, position: number, recovered = false) => ({
    type: "ready",
    id,
    view: "v",
    position: at(position),
    recovered,
  });
  const change = (position: number, previous: number, data: Row, view = "v") => ({
    interface: "items",
    operation: "update",
    data,
    view,
    position: at(position),
    previous: at(previous),
  });
  const removed = (position: number, previous: number, ...data: number[]) => ({
    ...change(position, previous, { id: 0 }),
    operation: "delete",
    data,
  });

  describe("keeps a copy", () => {
    beforeEach(connect);

    it("of rows in several parts, each of which replaces by id", async () => {
      const live = client.interface<Row>("items").live();
      const { id } = (await connection.next("subscribe")) as { id: number };
      connection.send(snapshot(id, { id: 1, n: 1 }), snapshot(id, { id: 1, n: 2 }, { id: 2 }), ready(id, 10));
      expect(await live.ready()).to.deep.equal([{ id: 1, n: 2 }, { id: 2 }]);
      expect(live.position).to.equal(at(10));
    });

    it("to which nothing belongs that is of another view, not after its position, or of before its `ready`", async () => {
      const live = client.interface<Row>("items").live();
      const { id } = (await connection.next("subscribe")) as { id: number };
      connection.send(
        change(11, 10, { id: 1, n: 11 }),
        snapshot(id, { id: 1, n: 0 }),
        ready(id, 10),
        change(12, 10, { id: 1, n: 12 }, "other"),
        change(10, 9, { id: 1, n: 10 }),
        change(13, 10, { id: 2, n: 13 }),
        change(13, 10, { id: 1, n: 13 }),
        change(12, 10, { id: 1, n: 12 }),
      );
      await until(live, ({ docs }) => docs.length === 2);
      connection.send({ type: "pong", position: at(14) });
      await live.caughtUp(at(14));
      expect(live.docs).to.deep.equal([
        { id: 1, n: 0 },
        { id: 2, n: 13 },
      ]);
    });

    it("that a delete of nobody moves on, and of somebody who is not there leaves as it is", async () => {
      const { live } = await joined({ id: 1 });
      const { docs } = live;
      const updates = heard(live);
      connection.send(removed(11, 10));
      await live.caughtUp(at(11));
      expect(live.docs).to.equal(docs);
      expect(updates.length).to.equal(1);
      connection.send(removed(12, 11, 7), removed(13, 12, 1));
      await until(live, (update) => update.docs.length === 0);
    });

    it("whose position no `progress` lowers, and `since` is it", async () => {
      const { live } = await joined({ id: 1 });
      connection.send({ type: "progress", position: at(30) }, { type: "pong", position: at(20) });
      connection.send({ type: "pong", position: at(0) }, change(31, 10, { id: 2 }));
      await until(live, ({ docs }) => docs.length === 2);
      connection.close(4500);
      connection = await gateway.next();
      expect(await connection.next("subscribe")).to.include({ interface: "items", since: at(31), view: "v" });
    });

    it("that was missed something of is asked for again from where it stands", async () => {
      const { live, id } = await joined({ id: 1 });
      connection.send(change(13, 12, { id: 3 }));
      expect(await connection.next("unsubscribe")).to.deep.equal({ type: "unsubscribe", id });
      const again = await connection.next("subscribe");
      expect(again)
        .to.include({ since: at(10), view: "v" })
        .and.not.to.include({ id });
      expect([live.state, live.docs]).to.deep.equal(["away", [{ id: 1 }]]);
      // Of what comes under the old id nothing is taken, and nothing of the view before its `ready`.
      connection.send(snapshot(id, { id: 9 }), change(14, 13, { id: 4 }), ready(again.id as number, 10, true));
      connection.send(change(12, 10, { id: 2 }), change(13, 12, { id: 3 }));
      await until(live, ({ docs }) => docs.length === 3);
      expect(live.docs.map((row) => row.id)).to.deep.equal([1, 2, 3]);
    });

    it("that is void at a `reset`, until others have come", async () => {
      const { live, id } = await joined({ id: 1 });
      const updates = heard(live);
      connection.send({ type: "reset", id, view: "v", reason: "dropped" }, change(11, 10, { id: 5 }));
      await until(live, ({ state }) => state === "joining");
      expect([live.docs, live.position, live.copy]).to.deep.equal([[], undefined, undefined]);
      connection.send(snapshot(id, { id: 2 }));
      connection.send({ type: "pong", position: at(50) });
      connection.send({ ...ready(id, 5), view: "w" });
      await until(live, ({ state }) => state === "live");
      expect([live.docs, live.position, live.copy?.view]).to.deep.equal([[{ id: 2 }], at(5), "w"]);
      expect(updates.slice(1).map(({ state, replaced, docs }) => [state, replaced, docs.length])).to.deep.equal([
        ["joining", true, 0],
        ["live", true, 1],
      ]);
    });

    it("of which a snapshot that broke off is no part", async () => {
      const { live, id } = await joined({ id: 1 });
      connection.send({ type: "reset", id, view: "v", reason: "history-lost" });
      connection.send({ ...snapshot(id, { id: 2 }), last: false });
      await until(live, ({ state }) => state === "joining");
      connection.close(4508);
      connection = await gateway.next();
      const again = await connection.next("subscribe");
      expect(again).not.to.have.any.keys("since", "view");
      expect([live.state, live.docs]).to.deep.equal(["joining", []]);
      connection.send(snapshot(again.id as number, { id: 3 }), ready(again.id as number, 20));
      expect(await live.ready()).to.deep.equal([{ id: 3 }]);
    });

    it("that is void stays so where it ends then", async () => {
      const { live, id } = await joined({ id: 1 });
      const error = { type: "error", id, status: 404, code: "unknown-interface", title: "Not found", detail: "" };
      connection.send({ type: "reset", id, view: "v", reason: "rule-changed" }, error);
      await until(live, ({ state }) => state === "ended");
      expect([live.docs, live.error?.code, live.error?.status]).to.deep.equal([[], "unknown-interface", 404]);
      const other = client.interface<Row>("items").live();
      const { id: otherId } = await connection.next("subscribe");
      connection.send({ ...snapshot(otherId as number, { id: 7 }), last: false });
      // What comes after it has come.
      await joined();
      other.close();
      expect([other.docs, other.error]).to.deep.equal([[], undefined]);
      expect(await connection.next("unsubscribe")).to.deep.equal({ type: "unsubscribe", id: otherId });
    });

    it("that nobody may see any more is empty", async () => {
      const { live, id } = await joined({ id: 1 });
      connection.send({ type: "error", id, status: 404, code: "unknown-interface", title: "Not found", detail: "" });
      await until(live, ({ state }) => state === "ended");
      expect(live.docs).to.deep.equal([]);
    });

    it("and gives it to who waits for it, though it is void a moment later", async () => {
      const live = client.interface<Row>("items").live();
      const { id } = (await connection.next("subscribe")) as { id: number };
      connection.send(snapshot(id, { id: 1 }), ready(id, 10), { type: "reset", id, view: "v", reason: "dropped" });
      expect(await live.ready()).to.deep.equal([{ id: 1 }]);
      expect(live.state).to.equal("joining");
    });

    it("of which 500 changes that come together are told at once", async () => {
      const { live } = await joined();
      const updates = heard(live);
      connection.send(...Array.from({ length: 500 }, (_, n) => change(11 + n, 10 + n, { id: n })));
      await until(live, ({ docs }) => docs.length === 500);
      expect(updates.map(({ changes }) => changes.length)).to.deep.equal([0, 500]);
      expect(live.current).to.equal(updates[1]);
    });

    it("whose array is another only where the rows are", async () => {
      const { live } = await joined({ id: 1 });
      const { docs } = live;
      connection.close(4500);
      await until(live, ({ state }) => state === "away");
      connection = await gateway.next();
      const { id } = await connection.next("subscribe");
      connection.send(ready(id as number, 10, true), { type: "progress", position: at(20) });
      await live.caughtUp(at(20));
      expect(live.docs).to.equal(docs);
    });

    it("and asks for it again after a pause where the rows can't be had", async () => {
      const live = client.interface<Row>("items").live();
      const { id } = await connection.next("subscribe");
      const began = performance.now();
      connection.send({ type: "error", id, status: 503, code: "too-busy", title: "Too busy", detail: "" });
      await until(live, ({ error }) => error?.code === "too-busy");
      expect(live.state).to.equal("joining");
      const again = await connection.next("subscribe");
      expect(performance.now() - began).to.be.greaterThan(1_900);
      connection.send(snapshot(again.id as number), ready(again.id as number, 10));
      await live.ready();
      expect(live.error).to.equal(undefined);
    });

    it("of nothing but changes, with `snapshot: false`", async () => {
      const live = client.interface<Row>("items").live({ snapshot: false });
      const { id, snapshot: wanted } = await connection.next("subscribe");
      expect(wanted).to.equal(false);
      connection.send(ready(id as number, 10), change(11, 10, { id: 1 }));
      await live.caughtUp(at(11));
      expect(live.docs).to.deep.equal([]);
      connection.send({ type: "reset", id, view: "v", reason: "dropped" }, snapshot(id as number, { id: 1 }));
      connection.send(ready(id as number, 20));
      await live.caughtUp(at(20));
      expect([live.docs, live.copy]).to.deep.equal([[], undefined]);
    });
  });

  describe("asks", () => {
    beforeEach(connect);

    it("no question that the gateway would not take, and goes on with the others", async () => {
      const { live } = await joined({ id: 1 });
      const ids = Array.from({ length: 1_000 }, (_, n) => n);
      const large = client
        .interface<Row>("items")
        .where({ id: { $in: ids } })
        .live();
      expect([large.state, large.error?.code, large.error?.status]).to.deep.equal(["ended", "too-big", 413]);
      expect([live.state, client.state]).to.deep.equal(["live", "open"]);
    });

    it("a large question only once it knows that the gateway takes it", async () => {
      const other = open(gateway.url);
      other
        .interface<Row>("items")
        .where({ name: "x".repeat(1_500) })
        .live();
      other.interface<Row>("items").live();
      const its = await gateway.next();
      expect(await its.next("subscribe")).not.to.have.property("filter");
      its.welcome();
      expect(await its.next("subscribe")).to.have.property("filter");
      expect(its.received.length).to.equal(2);
    });

    it("what a filter was when it was made, and nothing that JSON would leave out", async () => {
      const filter: { n: unknown } = { n: { $in: [1, new Date(5), /a/gi, 2n] } };
      const query = client.interface<Row>("items").where(filter);
      filter.n = 2;
      query.live();
      expect((await connection.next("subscribe")).filter).to.deep.equal({
        n: {
          $in: [
            1,
            { $date: { $numberLong: "5" } },
            { $regularExpression: { pattern: "a", options: "i" } },
            { $numberLong: "2" },
          ],
        },
      });
      for (const value of [undefined, Number.NaN, () => 1, Symbol("x")]) {
        expect(() => query.where({ user: value })).to.throw(TypeError, '"user"');
      }
    });

    it("how far the gateway is while somebody waits, but no more often than it may", async () => {
      const { live } = await joined({ id: 1 });
      const waiting = Array.from({ length: 100 }, () => live.caughtUp(at(40)));
      const pings = () => connection.received.filter(({ type }) => type === "ping").length;
      await eventually(() => pings() === 3);
      connection.send({ type: "pong", position: at(40) });
      await Promise.all(waiting);
      const asked = pings();
      expect(asked).to.be.lessThan(6);
      // Nobody waits any more. The next question would come within two seconds.
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      expect(pings()).to.equal(asked);
    });
  });

  describe("signs in", () => {
    const openWith = (token: () => string | undefined | Promise<string | undefined>): Client => {
      client = open(gateway.url, { token });
      return client;
    };

    it("with the newest token, though it came while the socket was on its way", async () => {
      let token: string | undefined;
      openWith(() => token);
      // By now it was asked for a token, and the socket is not open yet.
      await turnOfTheEventLoop();
      token = "second";
      await client.renew();
      connection = await gateway.next();
      expect((await connection.next("authenticate")).token).to.equal("second");
    });

    it("with the newest of several, in whatever order they came", async () => {
      const answers: ((token: string) => void)[] = [];
      openWith(() => new Promise((resolve) => answers.push(resolve)));
      answers[0]?.("first");
      connection = await gateway.next();
      connection.welcome("u");
      await becomes(client, "open");
      const renewals = [client.renew(), client.renew()];
      answers[2]?.("third");
      answers[1]?.("second");
      await Promise.all(renewals);
      await connection.next("authenticate");
      expect((await connection.next("authenticate")).token).to.equal("third");
      expect(connection.received.length).to.equal(2);
    });

    it("and is not `open` for the moment in which it is nobody's yet", async () => {
      const states: unknown[] = [];
      openWith(() => "token");
      client.subscribe(({ state, user }) => states.push([state, user]));
      connection = await gateway.next();
      connection.welcome();
      await connection.next("authenticate");
      connection.welcome("u");
      await becomes(client, "open");
      expect(states).to.deep.equal([
        ["connecting", undefined],
        ["open", { sub: "u" }],
      ]);
    });

    it("again with a token that was good once, after an older one has expired", async () => {
      let token = "first";
      openWith(() => token);
      connection = await gateway.next();
      await connection.next("authenticate");
      connection.welcome("u");
      await becomes(client, "open");
      token = "second";
      await client.renew();
      await connection.next("authenticate");
      connection.close(4401);
      connection = await gateway.next();
      expect((await connection.next("authenticate")).token).to.equal("second");
    });

    it("not with the same token that was refused, but asks for another at growing distances", async () => {
      let asked = 0;
      openWith(() => (++asked < 4 ? "bad" : "good"));
      connection = await gateway.next();
      await connection.next("authenticate");
      connection.close(4401);
      connection = await gateway.next(20_000);
      expect((await connection.next("authenticate")).token).to.equal("good");
      expect([asked, gateway.connections.length]).to.deep.equal([4, 2]);
    });

    it("for another user: what was the one's is void at once, and nothing of it is shown", async () => {
      let sub: string | undefined = "u1";
      openWith(() => (sub === undefined ? undefined : jwt({ sub })));
      connection = await gateway.next();
      connection.welcome("u1");
      await becomes(client, "open");
      const { live } = await joined({ id: 1 });
      sub = "u2";
      await client.renew();
      expect([live.state, live.docs]).to.deep.equal(["joining", []]);
      connection = await gateway.next();
      expect((await connection.next("authenticate")).token).to.equal(jwt({ sub: "u2" }));
      expect(await connection.next("subscribe")).not.to.have.property("since");
      connection.welcome("u2");
      await becomes(client, "open");
      const { live: second } = await joined({ id: 2 });
      sub = undefined;
      await client.renew();
      expect(second.docs).to.deep.equal([]);
      connection = await gateway.next();
      await connection.next("subscribe");
      expect(connection.received.some(({ type }) => type === "authenticate")).to.equal(false);
    });

    it("for another user after a loss: what was the one's is void before the gateway is there", async () => {
      let sub = "u1";
      openWith(() => jwt({ sub }));
      connection = await gateway.next();
      connection.welcome("u1");
      await becomes(client, "open");
      const { live } = await joined({ id: 1 });
      sub = "u2";
      connection.close(4500);
      await until(live, ({ state }) => state === "joining");
      expect(live.docs).to.deep.equal([]);
    });

    it("no more when it has been closed, and asks for no token", async () => {
      let asked = 0;
      const answers: ((token: string) => void)[] = [];
      openWith(() => {
        asked += 1;
        return new Promise((resolve) => answers.push(resolve));
      });
      answers[0]?.(jwt({ sub: "u", exp: seconds(600_000) }));
      connection = await gateway.next();
      connection.welcome("u");
      await becomes(client, "open");
      const renewal = client.renew();
      client.close();
      answers[1]?.(jwt({ sub: "u", exp: seconds(1_000), iat: seconds(0) }));
      await renewal;
      await eventually(() => connection.isClosed);
      expect([client.state, asked]).to.deep.equal(["closed", 2]);
      expect(connection.received.filter(({ type }) => type === "authenticate").length).to.equal(1);
    });

    it("later, where whoever gives tokens throws anything at all", async () => {
      let asked = 0;
      openWith(() => (++asked === 1 ? Promise.reject() : Promise.resolve("good")));
      connection = await gateway.next();
      expect((await connection.next("authenticate")).token).to.equal("good");
    });

    it("anew in time, by the token's own life where this machine's clock is wrong", () => {
      const token = (iat: number | undefined, exp: number): string => jwt({ iat, exp });
      expect(renewAfter(jwt({ sub: "u" }))).to.equal(undefined);
      expect(renewAfter("no jwt")).to.equal(undefined);
      expect(renewAfter(token(1_000, 1_100), 1_000_000)).to.equal(90_000);
      expect(renewAfter(token(1_000, 4_600), 1_000_000)).to.equal(3_540_000);
      expect(renewAfter(token(undefined, 1_100), 1_000_000)).to.equal(90_000);
      // Some time after it was made, on a clock that is ahead, and on one that is behind.
      expect(renewAfter(token(1_000, 1_100), 1_050_000)).to.equal(45_000);
      expect(renewAfter(token(1_000, 1_100), 9_000_000)).to.equal(90_000);
      expect(renewAfter(token(1_000, 1_100), 500_000)).to.equal(90_000);
      expect(renewAfter(token(undefined, 1_100), 9_000_000)).to.equal(30_000);
    });
  });

  describe("after a close (C12)", () => {
    const random = 0.5;
    for (const [code, remedy] of [
      [1001, "soon"],
      [1006, "backoff"],
      [1011, "backoff"],
      [4400, "end"],
      [4401, "token"],
      [4403, "end"],
      [4406, "end"],
      [4408, "pause"],
      [4413, "end"],
      [4429, "pause"],
      [4500, "backoff"],
      [4508, "backoff"],
    ] as const) {
      it(`with ${code}: ${remedy}`, () => {
        expect(remedyFor(code, 4401)).to.equal(remedy);
      });
    }

    it("with what the gateway was configured to say for 4401, asks for a token", () => {
      expect(remedyFor(4403, 4403)).to.equal("token");
      expect(remedyFor(4401, 4403)).to.equal("backoff");
      expect(closeError(4403, "", 4403).code).to.equal("unauthorized");
      expect(closeError(4508, "slow", 4401)).to.include({ code: "too-slow", closeCode: 4508, message: "slow" });
    });

    it("waits as long as that takes, the longer the more often it did not work", () => {
      expect(waitFor("soon", 0, random)).to.equal(500);
      expect(waitFor("token", 0, random)).to.equal(0);
      expect([waitFor("pause", 0, 0), waitFor("pause", 0, 1)]).to.deep.equal([10_000, 20_000]);
      for (const remedy of ["soon", "token", "backoff"] as const) {
        const waits = [1, 2, 3, 7, 20].map((failures) => waitFor(remedy, failures, random));
        expect(waits).to.deep.equal([250, 500, 1_000, 15_000, 15_000]);
      }
      expect(backoff(1, 0)).to.equal(100);
      expect([1, 2, 3, 9].map((refusals) => pauseAfterRefusal(refusals, random))).to.deep.equal([
        3_000, 6_000, 12_000, 30_000,
      ]);
    });

    it("that is final, ends everything", async () => {
      await connect();
      const { live } = await joined({ id: 1 });
      const feed = live.changes();
      connection.close(4403);
      await becomes(client, "closed");
      expect([live.state, live.error?.code, live.docs]).to.deep.equal(["ended", "forbidden", []]);
      expect(await feed.next().catch((error: unknown) => error)).to.equal(live.error);
    });

    it("that is not, and comes again and again at once, is less and less often followed", async () => {
      client = open(gateway.url);
      const times: number[] = [];
      for (let n = 0; n < 4; n++) {
        connection = await gateway.next();
        times.push(performance.now());
        connection.welcome();
        connection.close(1001);
      }
      for (let n = 1; n < 4; n++) expect((times[n] ?? 0) - (times[n - 1] ?? 0)).to.be.greaterThan(90);
      await eventually(() => client.error?.code === "going-away");
    });

    it("is tried at once when a browser has found its network again", async () => {
      const target = new EventTarget();
      const { addEventListener, removeEventListener } = globalThis;
      Object.assign(globalThis, {
        addEventListener: target.addEventListener.bind(target),
        removeEventListener: target.removeEventListener.bind(target),
      });
      try {
        await connect();
        connection.close(4429);
        await becomes(client, "waiting");
        const began = performance.now();
        target.dispatchEvent(new Event("online"));
        await gateway.next();
        expect(performance.now() - began).to.be.lessThan(9_000);
        client.close();
        target.dispatchEvent(new Event("online"));
        expect(client.state).to.equal("closed");
      } finally {
        Object.assign(globalThis, { addEventListener, removeEventListener });
      }
    });
  });

  it("tells a listener nothing that another has made leave", async () => {
    await connect();
    const { live } = await joined({ id: 1 });
    const told: LiveUpdate<Row>[] = [];
    let leave = (): void => undefined;
    live.subscribe(({ docs }) => {
      if (docs.length === 2) leave();
    });
    leave = live.subscribe((update) => told.push(update)) as () => void;
    connection.send(change(11, 10, { id: 2 }));
    await until(live, ({ docs }) => docs.length === 2);
    expect(told.length).to.equal(1);
  });

  it("keeps no process from ending once it is closed, though nobody answers", async () => {
    const code = `
      import { connect } from "tailgate/client";
      const client = connect(${JSON.stringify(gateway.url)});
      client.subscribe(() => client.state === "open" && client.close());
    `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: "inherit" });
    connection = await gateway.next(20_000);
    connection.welcome();
    connection.hang();
    const [exit] = await once(child, "exit", { signal: AbortSignal.timeout(15_000) });
    expect(exit).to.equal(0);
  });

  it("can be closed at any moment, by a listener too", async () => {
    for (const state of ["connecting", "open", "waiting"] as const) {
      const one = open(gateway.url);
      const live = one.interface<Row>("items").live();
      one.subscribe(() => {
        if (one.state === state) one.close();
      });
      if (state !== "connecting") (await gateway.next()).welcome();
      if (state === "waiting") {
        await becomes(one, "open");
        gateway.connections.at(-1)?.close(4500);
      }
      await becomes(one, "closed");
      expect([one.error, live.state, live.error]).to.deep.equal([undefined, "ended", undefined]);
    }
  });
});
