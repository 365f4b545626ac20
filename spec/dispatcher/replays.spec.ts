import { monitorEventLoopDelay } from "node:perf_hooks";
import { expect } from "chai";
import type { Timestamp } from "mongodb";
import { createDatabase, type Database } from "../../src/database.js";
import { History } from "../../src/dispatcher/history.js";
import { createViewReader, type Rows, type StoredDocument, type ViewReader } from "../../src/dispatcher/reader.js";
import type { Replay } from "../../src/dispatcher/replay.js";
import { Replays } from "../../src/dispatcher/replays.js";
import { createRepresentation } from "../../src/dispatcher/representation.js";
import { Snapshots } from "../../src/dispatcher/snapshot.js";
import { View } from "../../src/dispatcher/view.js";
import { parseFilter } from "../../src/filter/parse.js";
import { createLog } from "../../src/log.js";
import { formatPosition, ordinals } from "../../src/position.js";
import { Bookmarks } from "../../src/watcher/bookmarks.js";
import { createOplog } from "../../src/watcher/oplog.js";
import { createPast, type ReadPast } from "../../src/watcher/past.js";
import { eventually } from "../support/eventually.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

type Item = { _id: number; user?: number; text?: string };

describe("replays", () => {
  let spec: SpecDatabase;
  let database: Database;
  let history: History;
  let ending: AbortController;
  const log = createLog("silent", { write: () => undefined });
  const items = () => spec.db.collection<Item>("items");

  beforeEach(async () => {
    spec = await freshDatabase();
    await spec.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
    database = createDatabase({ uri: spec.uri, log });
    ending = new AbortController();
    await database.start(ending.signal);
    history = new History({ events: 100_000, megabytes: 64 });
  });
  afterEach(async () => {
    ending.abort();
    await database.stop();
    await spec.dispose();
  });

  function past(): ReadPast {
    return createPast({
      database,
      collections: new Set(["items"]),
      oplog: createOplog({ client: database.client, log }),
      bookmarks: new Bookmarks(),
      undecodable: () => undefined,
    });
  }
  function start({ limit = 1_000, historyBytes = 64_000_000 } = {}): Replays {
    return new Replays({ history, readPast: past(), limit, historyBytes, signal: ending.signal, log });
  }
  async function now(secondsLater = 0): Promise<string> {
    const { operationTime } = (await spec.db.command({ hello: 1 })) as unknown as { operationTime: Timestamp };
    const [seconds, increment] = [
      operationTime.getHighBitsUnsigned() + secondsLater,
      operationTime.getLowBitsUnsigned(),
    ];
    return formatPosition({ seconds, increment, ordinal: ordinals.before, tag: database.tag });
  }
  function viewOf(filter?: object): View {
    const parsed = filter === undefined ? undefined : parseFilter(filter);
    return new View({ name: "items", collection: "items" }, createRepresentation({}), parsed, "", {});
  }
  const told = (replay: Replay): unknown[] =>
    replay.frames.map(({ text }) => {
      const { operation, data } = JSON.parse(text) as { operation: string; data: { id?: number } };
      return [operation, data.id ?? data];
    });

  it("end in a quiet database, where nothing was missed at all", async () => {
    const since = await now();
    // The history begins later: what lies between has to be looked up in the oplog, and there is nothing.
    history.begin(await now(1));
    const replays = start();
    const replay = replays.of(viewOf(), since);
    await replays.complete(replay);
    expect([replay.failure, replay.frames]).to.deep.equal([undefined, []]);
  }).timeout(30_000);

  it("fail for who was away for too long, and for nobody else", async () => {
    const since = await now();
    await items().insertMany([{ _id: 1 }, { _id: 2 }]);
    history.begin(await now(1));
    const replays = start();
    const ancient = replays.of(viewOf({ _id: { $gt: 0 } }), `${"0".repeat(7)}1${since.slice(8)}`);
    const good = replays.of(viewOf(), since);
    await Promise.all([replays.complete(ancient), replays.complete(good)]);
    expect(ancient.failure).to.equal("too-far-behind");
    expect([good.failure, told(good)]).to.deep.equal([
      undefined,
      [
        ["insert", 1],
        ["insert", 2],
      ],
    ]);
  }).timeout(30_000);

  it("give up what would take more memory than the history may", async () => {
    const since = await now();
    await items().insertMany(Array.from({ length: 20 }, (_, _id) => ({ _id, text: "x".repeat(10_000) })));
    history.begin(await now(1));
    const replays = start({ historyBytes: 100_000 });
    const [all, one] = [replays.of(viewOf(), since), replays.of(viewOf({ _id: 7 }), since)];
    await Promise.all([replays.complete(all), replays.complete(one)]);
    expect(all.failure).to.equal("too-far-behind");
    expect([one.failure, told(one)]).to.deep.equal([undefined, [["insert", 7]]]);
  }).timeout(30_000);

  it("of many views take the same history in together, in short turns of the event loop", async () => {
    const since = await now();
    const changes = 4_000;
    for (let from = 0; from < changes; from += 1_000) {
      await items().insertMany(Array.from({ length: 1_000 }, (_, n) => ({ _id: from + n, user: (from + n) % 400 })));
    }
    const until = await now();
    history.begin(since);
    for await (const { events, head } of past()(since, { signal: ending.signal, patience: 1 })) {
      for (const event of events) history.push(event);
      if (head >= until || history.size >= changes) break;
    }
    expect(history.size).to.equal(changes);
    const replays = start();
    const all = Array.from({ length: 400 }, (_, user) => replays.of(viewOf({ user }), since));
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const began = performance.now();
    await Promise.all(all.map((replay) => replays.complete(replay)));
    delay.disable();
    const took = performance.now() - began;
    for (const [user, replay] of all.entries()) {
      expect(replay.failure).to.equal(undefined);
      const ids = Array.from({ length: changes / 400 }, (_, n) => ["insert", n * 400 + user]);
      expect(told(replay)).to.deep.equal(ids);
    }
    // One slice for each of them in one turn would be seconds.
    expect(delay.max / 1e6).to.be.below(Math.max(500, took / 4));
  }).timeout(60_000);

  it("follow a snapshot that is read no faster than it is taken", async () => {
    const rows = 10_000;
    for (let from = 0; from < rows; from += 1_000) {
      await items().insertMany(Array.from({ length: 1_000 }, (_, n) => ({ _id: from + n, text: "x".repeat(1_000) })));
    }
    const head = await now();
    history.begin(head);
    const reader = createViewReader(database, { readConcern: "majority" }, log);
    let read = 0;
    async function* counted(documents: Rows["documents"]): AsyncGenerator<StoredDocument> {
      for await (const document of documents) {
        read += 1;
        yield document;
      }
    }
    const counting: ViewReader = {
      matching: reader.matching,
      saysItsPlace: reader.saysItsPlace,
      present: reader.present,
      hasImages: reader.hasImages,
      idsOf: reader.idsOf,
      async rowsOf(...wanted) {
        const found = await reader.rowsOf(...wanted);
        return { ...found, documents: counted(found.documents) };
      },
    };
    const snapshots = new Snapshots({
      reader: counting,
      head: () => head,
      replays: start(),
      replayBytes: 1_000_000,
      quarantine: () => undefined,
    });
    const snapshot = snapshots.take(viewOf());
    await snapshot.next();
    // It stands still where its window of two megabytes is full.
    let before = -1;
    let looks = 0;
    await eventually(async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      looks = read === before && read >= 1_000 ? looks + 1 : 0;
      before = read;
      return looks === 5;
    });
    expect(read).to.be.within(1_000, 4_000);
    while ((await snapshot.next()) !== undefined);
    expect(read).to.equal(rows);
    expect(snapshot.replay.failure).to.equal(undefined);
    snapshot.close();
  }).timeout(30_000);
});
