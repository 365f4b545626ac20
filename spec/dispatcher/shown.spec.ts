import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { ObjectId, type Timestamp } from "mongodb";
import { settingsOf } from "../../src/config/load.js";
import { createDatabase } from "../../src/database.js";
import { createViewReader } from "../../src/dispatcher/reader.js";
import { createRepresentation } from "../../src/dispatcher/representation.js";
import { View } from "../../src/dispatcher/view.js";
import { ViewIndex } from "../../src/dispatcher/view-index.js";
import { Views } from "../../src/dispatcher/views.js";
import { parseFilter } from "../../src/filter/parse.js";
import { createLog } from "../../src/log.js";
import { formatPosition, ordinals } from "../../src/position.js";
import type { Change } from "../../src/watcher/change.js";
import { timeOf } from "../../src/watcher/change.js";
import { type ChangeParts, changeAt } from "../support/change.js";
import { freshDatabase } from "../support/server.js";

const running = parseFilter({ state: "running" });

describe("what a view shows, remembered where there are no pre-images", () => {
  let view: View;
  let increment = 0;

  beforeEach(() => {
    view = new View({ name: "items", collection: "items" }, createRepresentation({}), running, "", {});
    view.shown = new ViewIndex().shownBy(view);
    for (const state of ["running", "done"]) take("insert", { _id: state, after: { _id: state, state } });
  });

  const change = (operation: "insert" | "update" | "delete", parts: ChangeParts): Change =>
    changeAt({ seconds: 1, increment: ++increment }, operation, parts);
  const take = (...parts: Parameters<typeof change>): string | undefined => view.effectOf(change(...parts))?.operation;

  it("a document that left is told to have left by its own change, even if an earlier look-up saw it", () => {
    const gone = { _id: "running", state: "done", n: 1 };
    expect(take("update", { _id: "running", set: { n: 1 }, after: gone })).to.equal("delete");
    expect(take("update", { _id: "running", set: { state: "done" }, after: gone })).to.equal("delete");
    expect(take("update", { _id: "running", set: { n: 2 }, after: { ...gone, n: 2 } })).to.equal(undefined);
  });

  it("a document that came is told to have come by its own change, even if an earlier look-up saw it", () => {
    const here = { _id: "done", state: "running", n: 1 };
    expect(take("update", { _id: "done", set: { n: 1 }, after: here })).to.equal(undefined);
    expect(take("update", { _id: "done", set: { state: "running" }, after: here })).to.equal("insert");
    expect(take("update", { _id: "done", set: { n: 2 }, after: { ...here, n: 2 } })).to.equal("update");
  });

  it("a document that came and went is told of by nobody, though an earlier look-up saw it", () => {
    const here = { _id: "done", state: "running", n: 1 };
    expect(take("update", { _id: "done", set: { n: 1 }, after: here })).to.equal(undefined);
    for (const set of [{ state: "running" }, { state: "done" }]) {
      expect(take("update", { _id: "done", set, after: { ...here, state: "done" } })).to.equal(undefined);
    }
  });

  it("a document that left and came back is there, though what the filter looks at does not show", () => {
    view = new View({ name: "items", collection: "items" }, createRepresentation({ fields: ["n"] }), running, "", {});
    view.shown = new ViewIndex().shownBy(view);
    const here = { _id: 1, state: "running", n: 1 };
    take("insert", { _id: 1, after: here });
    expect(take("update", { _id: 1, set: { n: 1 }, after: { ...here, state: "done" } })).to.equal("delete");
    expect(take("update", { _id: 1, set: { state: "done" }, after: here })).to.equal("update");
    expect(take("update", { _id: 1, set: { state: "running" }, after: here })).to.equal("update");
    expect(take("update", { _id: 1, set: { hidden: 1 }, after: here })).to.equal(undefined);
  });

  it("a document that somebody has read ahead of the stream is told to be gone, and no other", () => {
    const index = new ViewIndex();
    view.shown = index.shownBy(view);
    index.add(view);
    const later = increment + 2;
    view.shown.expect(
      ["sread"],
      change("insert", { _id: 1, after: {} }).position.slice(0, 8) + later.toString(16).padStart(8, "0"),
    );
    const entered = { _id: "read", set: { state: "running" } };
    // Its look-up did not find it any more.
    increment = later - 1;
    const gone = change("update", entered);
    expect([...index.touchedBy(gone)]).to.deep.equal([view]);
    expect(view.effectOf(gone)?.operation).to.equal("delete");
    expect(take("update", { ...entered, _id: "other" })).to.equal(undefined);
    // From here on the stream has brought all that was read.
    expect(take("update", entered)).to.equal(undefined);
    expect([...index.touchedBy(change("delete", { _id: "read" }))]).to.deep.equal([]);
  });

  it("a document is not taken for another whose id only reads the same", () => {
    const _id = new ObjectId();
    take("insert", { _id, after: { _id, state: "running" } });
    const text = _id.toHexString();
    take("insert", { _id: text, after: { _id: text, state: "done" } });
    expect(take("delete", { _id: text })).to.equal(undefined);
    expect(take("delete", { _id })).to.equal("delete");
  });
});

describe("a filtered view that is made while the stream is behind the database", () => {
  it("is not ready before the stream has reached what it read", async () => {
    const spec = await freshDatabase();
    const items = spec.db.collection<{ _id: number; state: string }>("items");
    await items.insertOne({ _id: 1, state: "running" });
    const log = createLog("silent", { write: () => undefined });
    const database = createDatabase({ uri: spec.uri, log });
    const ending = new AbortController();
    await database.start(ending.signal);
    const now = async () =>
      timeOf(((await spec.db.command({ hello: 1 })) as unknown as { operationTime: Timestamp }).operationTime);
    const positionOf = (time: { seconds: number; increment: number }): string =>
      formatPosition({ ...time, ordinal: ordinals.before, tag: "00000000" });
    let head = positionOf(await now());
    const applied: unknown[] = [];
    const views = new Views({
      reader: createViewReader(database, { readConcern: "majority" }, log),
      head: () => head,
      log,
      signal: ending.signal,
      ready: (_, pending) => applied.push(...pending),
      overflowed: () => undefined,
    });
    // It leaves the filter, and the stream does not say so yet.
    await items.updateOne({ _id: 1 }, { $set: { state: "done" } });
    const settings = settingsOf({ port: 0, mongo: spec.uri, interfaces: { items: { read: true } } }, {});
    const [shown] = [...settings.interfaces.values()];
    if (shown === undefined) throw new TypeError("no interface");
    const view = views.of(shown, running, createRepresentation({}), head);
    await sleep(200);
    expect(view.isPrepared).to.equal(false);
    const after = { _id: 1, state: "done" };
    const time = await now();
    const leaving = changeAt(time, "update", { _id: 1, set: { state: "done" }, after });
    expect([...views.touchedBy(leaving)]).to.deep.equal([]);
    head = positionOf({ ...time, seconds: time.seconds + 1 });
    views.moved(head);
    await view.prepared;
    expect(applied).to.deep.equal([leaving]);
    ending.abort();
    await database.stop();
    await spec.dispose();
  });
});
