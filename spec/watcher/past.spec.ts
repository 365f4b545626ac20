import { expect } from "chai";
import type { ChangeStreamInsertDocument, Timestamp } from "mongodb";
import { createDatabase, type Database } from "../../src/database.js";
import { createLog } from "../../src/log.js";
import { formatPosition, ordinals, timeOfPosition } from "../../src/position.js";
import { Bookmarks } from "../../src/watcher/bookmarks.js";
import { type StreamEvent, timeOf } from "../../src/watcher/change.js";
import { HistoryLostError } from "../../src/watcher/failure.js";
import { LookUpError } from "../../src/watcher/look-up.js";
import { createOplog } from "../../src/watcher/oplog.js";
import { createPast, type ReadPast } from "../../src/watcher/past.js";
import { failCommand } from "../support/failpoint.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

const changeStreamHistoryLost = 286;
const log = createLog("silent", { write: () => undefined });

describe("the past", () => {
  let server: OwnServer;
  let spec: SpecDatabase;
  let database: Database;
  let ending: AbortController;
  let bookmarks: Bookmarks;
  const items = () => spec.db.collection<{ _id: number }>("items");

  before(async () => {
    server = await startOwnServer(["--oplog-max-entries", "300", "--oplog-retention-seconds", "1"]);
  });
  after(() => server.dispose());
  beforeEach(async () => {
    spec = await freshDatabase(server);
    ending = new AbortController();
    bookmarks = new Bookmarks();
    database = createDatabase({ uri: `${spec.uri}&monitorCommands=true`, log });
    await database.start(ending.signal);
  });
  afterEach(async () => {
    ending.abort();
    await database.stop();
    await spec.dispose();
  });

  async function now(): Promise<string> {
    const { operationTime } = (await spec.db.command({ hello: 1 })) as unknown as { operationTime: Timestamp };
    const [seconds, increment] = [operationTime.getHighBitsUnsigned(), operationTime.getLowBitsUnsigned()];
    return formatPosition({ seconds, increment, ordinal: ordinals.before, tag: database.tag });
  }

  /** @param name - whose changes overwrite what was there */
  async function roll(name: string): Promise<void> {
    for (let round = 0; round < 10; round++) {
      await spec.db.collection(name).insertMany(Array.from({ length: 200 }, () => ({})));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  function past(whose: Database, marks: Bookmarks): ReadPast {
    return createPast({
      database: whose,
      collections: new Set(["items"]),
      oplog: createOplog({ client: database.client, log }),
      bookmarks: marks,
      undecodable: () => undefined,
    });
  }

  /** @returns ids of what was inserted from a position on, until the one that is given, or what went wrong */
  async function idsSince(position: string, last: number, whose = database): Promise<unknown> {
    const readPast = past(whose, bookmarks);
    const ids: unknown[] = [];
    const idOf = (event: StreamEvent): unknown => (event.kind === "change" ? event.id : event.kind);
    try {
      for await (const { events } of readPast(position, { signal: ending.signal, patience: 4 })) {
        ids.push(...events.map(idOf));
        if (ids.includes(last)) break;
      }
      return ids;
    } catch (error) {
      return error;
    }
  }

  it("is read from the very place, in a database that began before it and in one that had nothing", async () => {
    const beforeAll = await now();
    await items().insertMany([{ _id: 1 }, { _id: 2 }]);
    const between = await now();
    await items().insertMany([{ _id: 3 }, { _id: 4 }]);
    expect(await idsSince(beforeAll, 4)).to.deep.equal([1, 2, 3, 4]);
    expect(await idsSince(between, 4)).to.deep.equal([3, 4]);
  });

  for (const name of ["items", "others"]) {
    it(`that ${name} have overwritten is lost, and what is left is still had`, async () => {
      await items().insertOne({ _id: 1 });
      const lost = await now();
      await items().insertOne({ _id: 2 });
      await roll(name);
      const error = await idsSince(lost, 3);
      expect(error).to.be.an.instanceOf(HistoryLostError);
      const { oldest } = error as HistoryLostError;
      expect(oldest > lost && oldest < (await now())).to.equal(true);
      await items().insertOne({ _id: 3 });
      const left = await idsSince(`${oldest}${database.tag}`, 3);
      expect(left).to.be.an("array").that.includes(3).and.does.not.include(2);
    }).timeout(30_000);
  }

  it("that the server itself refuses to give is said to begin where the oplog does", async () => {
    await items().insertOne({ _id: 1 });
    const lost = await now();
    await roll("items");
    const mongodb = Object.create(database, {
      support: { value: { ...database.support, isMongodb: true } },
    });
    await failCommand(spec.client, { times: 1 }, { failCommands: ["aggregate"], errorCode: changeStreamHistoryLost });
    const error = await idsSince(lost, 2, mongodb);
    expect(error).to.be.an.instanceOf(HistoryLostError);
    expect((error as HistoryLostError).oldest > lost).to.equal(true);
  }).timeout(30_000);

  it("is not taken for whole where the oplog's beginning can't be told for a while", async () => {
    await items().insertOne({ _id: 1 });
    const lost = await now();
    await roll("items");
    await items().insertOne({ _id: 2 });
    const maxTimeMsExpired = 50;
    await failCommand(spec.client, { times: 1 }, { failCommands: ["find"], errorCode: maxTimeMsExpired });
    expect(await idsSince(lost, 2)).to.be.an.instanceOf(LookUpError);
    expect(await idsSince(lost, 2)).to.be.an.instanceOf(HistoryLostError);
  }).timeout(30_000);

  describe("after a bookmark", () => {
    /** Inserts one document and marks its place. */
    async function insertAndMark(_id: number): Promise<void> {
      const stream = items().watch();
      // It has to be open before.
      await stream.tryNext();
      await items().insertOne({ _id });
      const event = (await stream.next()) as ChangeStreamInsertDocument;
      await stream.close();
      bookmarks.add({ place: { ...timeOf(event.clusterTime as Timestamp), ordinal: 1 }, token: event._id });
    }
    /** What streams are opened with. */
    function openings(): unknown[] {
      const seen: unknown[] = [];
      database.client.on("commandStarted", ({ command }) => {
        const stage = command.aggregate === undefined ? undefined : command.pipeline[0]?.$changeStream;
        if (stage !== undefined) seen.push("startAfter" in stage ? "token" : "time");
      });
      return seen;
    }

    it("is read from the very place, in the middle of a transaction as well", async () => {
      const beforeAll = await now();
      await items().insertOne({ _id: 0 });
      await insertAndMark(1);
      await items().insertOne({ _id: 2 });
      await spec.client.withSession((session) =>
        session.withTransaction(async () => {
          for (const _id of [3, 4, 5]) await items().insertOne({ _id }, { session });
        }),
      );
      const positions: string[] = [];
      const unmarked = past(database, new Bookmarks());
      for await (const { events } of unmarked(beforeAll, { signal: ending.signal, patience: 4 })) {
        positions.push(...events.map(({ position }) => position));
        if (positions.length === 6) break;
      }
      const opened = openings();
      expect(await idsSince(positions[2] as string, 5)).to.deep.equal([3, 4, 5]);
      expect(await idsSince(positions[3] as string, 5)).to.deep.equal([4, 5]);
      expect(await idsSince(positions[1] as string, 5)).to.deep.equal([2, 3, 4, 5]);
      expect(opened).to.deep.equal(["token", "token", "token"]);
      expect(await idsSince(positions[0] as string, 5)).to.deep.equal([1, 2, 3, 4, 5]);
      expect(opened[3]).to.equal("time");
    });

    it("that is not in the oplog any more is read from its time, as long as that is there", async () => {
      await insertAndMark(1);
      await roll("items");
      await items().insertOne({ _id: 2 });
      const there = await now();
      await items().insertOne({ _id: 3 });
      const opened = openings();
      expect(await idsSince(there, 3)).to.deep.equal([3]);
      expect(await idsSince(there, 3)).to.deep.equal([3]);
      expect(opened).to.deep.equal(["token", "time", "time"]);
    }).timeout(30_000);

    it("is not passed over where much of others comes first", async () => {
      await insertAndMark(1);
      const idle = await now();
      await spec.db.collection("others").insertMany(Array.from({ length: 250 }, () => ({})));
      await items().insertOne({ _id: 2 });
      const written = await now();
      // So long that the server's present, set back as it is, is later than all of that.
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      for (const marks of [bookmarks, new Bookmarks()]) {
        const heads: string[] = [];
        for await (const { events, head } of past(database, marks)(idle, { signal: ending.signal, patience: 4 })) {
          const [found] = events;
          if (found === undefined) heads.push(head);
          if (found === undefined) continue;
          expect(found.position > (heads.at(-1) ?? "")).to.equal(true);
          expect(timeOfPosition(found.position) <= timeOfPosition(written)).to.equal(true);
          break;
        }
        expect(heads).not.to.deep.equal([]);
      }
    }).timeout(30_000);
  });
});
