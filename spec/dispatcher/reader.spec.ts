import { expect } from "chai";
import { type CommandStartedEvent, MongoClient, type Timestamp } from "mongodb";
import type { SnapshotSettings } from "../../src/config/settings.js";
import { supportOf } from "../../src/database.js";
import { createViewReader, type Rows } from "../../src/dispatcher/reader.js";
import { createLog } from "../../src/log.js";
import { formatPosition, parsePosition } from "../../src/position.js";
import { failCommand } from "../support/failpoint.js";
import { freshDatabase, givenUri, type SpecDatabase } from "../support/server.js";

describe("the rows of a snapshot", () => {
  let database: SpecDatabase;
  let client: MongoClient;
  let finds: CommandStartedEvent["command"][];
  const representation = { fields: undefined, format: "json" } as const;
  const logged: Record<string, unknown>[] = [];
  const log = createLog("debug", { write: (line: string) => void logged.push(JSON.parse(line)) });

  beforeEach(async () => {
    database = await freshDatabase();
    await database.db.collection<{ _id: number }>("items").insertMany([{ _id: 1 }, { _id: 2 }]);
    client = await new MongoClient(database.uri, { monitorCommands: true }).connect();
    finds = [];
    logged.length = 0;
    client.on("commandStarted", ({ commandName, command }) => {
      if (commandName === "find") finds.push(command);
    });
  });
  afterEach(async () => {
    await failCommand(database.client, "off", undefined);
    await client.close();
    await database.dispose();
  });

  async function headOf(): Promise<{ head: string; time: Timestamp }> {
    const { operationTime: time } = (await database.db.command({ hello: 1 })) as unknown as {
      operationTime: Timestamp;
    };
    const [seconds, increment] = [time.getHighBitsUnsigned(), time.getLowBitsUnsigned()];
    return { head: formatPosition({ seconds, increment, ordinal: 3, tag: "00000000" }), time };
  }
  async function read(
    settings: SnapshotSettings,
    head: string,
  ): Promise<{ rows: Rows; ids: unknown[]; isExact: boolean }> {
    const support = supportOf(await database.db.command({ buildInfo: 1 }));
    const reader = createViewReader({ client, db: client.db(), support }, settings, log);
    const rows = await reader.rowsOf(
      { collection: "items", filter: undefined, representation: { fields: undefined, format: "json" } },
      head,
    );
    const ids: unknown[] = [];
    for await (const { document } of rows.documents) ids.push(document._id);
    await rows.close();
    const again = await reader.rowsOf({ collection: "items", filter: undefined, representation }, head);
    await again.close();
    return { rows, ids, isExact: again.isExact };
  }

  it("are read at the very moment up to which all has been dispatched, where that is configured", async () => {
    const { head, time } = await headOf();
    const { rows, ids, isExact } = await read({ readConcern: "snapshot" }, head);
    expect(ids).to.deep.equal([1, 2]);
    expect(finds[0]?.readConcern).to.deep.equal({ level: "snapshot", atClusterTime: time });
    // After every event of that time: a transaction's may not have come yet, but the rows have them.
    expect([rows.isExact, isExact]).to.deep.equal([true, true]);
    expect(parsePosition(rows.cut)).to.deep.equal({ ...parsePosition(head), ordinal: 0xffffffff });
  });

  it("are of the majority and causally after what has been dispatched, where that is configured", async () => {
    const { head, time } = await headOf();
    const { rows, ids } = await read({ readConcern: "majority" }, head);
    expect(ids).to.deep.equal([1, 2]);
    expect(finds[0]?.readConcern).to.deep.equal({ level: "majority", afterClusterTime: time });
    expect([rows.cut, rows.isExact]).to.deep.equal([head, false]);
  });

  it("are of one moment by themselves where the server is MongoDB, and not where it only speaks its protocol", async () => {
    const build = await database.db.command({ buildInfo: 1 });
    const isMongodb = !("secantusVersion" in build);
    const { rows } = await read({ readConcern: "auto" }, (await headOf()).head);
    expect(rows.isExact).to.equal(isMongodb);
    const mongod = { version: "8.0.4", modules: [], allocator: "tcmalloc-google" };
    expect(supportOf(mongod)).to.include({ isMongodb: true, snapshotReads: true });
    expect(supportOf({ ...mongod, version: "4.4.29" })).to.include({ isMongodb: true, snapshotReads: false });
    expect(supportOf({ version: "8.0.4" })).to.include({ isMongodb: false, snapshotReads: false });
  });

  for (const { code, is, later } of [
    { code: 239, is: "the moment is too long ago", later: true },
    { code: 250, is: "a chunk has moved", later: true },
    { code: 72, is: "the server knows no such reads", later: false },
  ]) {
    it(`are read as they come where ${is} (code ${code}), and ${later ? "at a later one" : "for good"}`, async function () {
      if (givenUri) this.skip();
      await failCommand(database.client, { times: 1 }, { failCommands: ["find"], errorCode: code });
      const { head } = await headOf();
      const { rows, ids, isExact } = await read({ readConcern: "snapshot" }, head);
      expect(ids).to.deep.equal([1, 2]);
      expect([rows.cut, rows.isExact]).to.deep.equal([head, false]);
      expect(isExact).to.equal(later);
      expect(logged.map(({ msg }) => msg)).to.include("snapshot not read at one moment");
    });
  }
});
