import { expect } from "chai";
import type { Document } from "mongodb";
import { z } from "zod";
import { settingsOf } from "../../src/config/load.js";
import { DatabaseUnreachableError } from "../../src/errors.js";
import { startGateway } from "../../src/gateway.js";
import { defineTask, type Gateway, type TaskDefinition } from "../../src/index.js";
import { createLog } from "../../src/log.js";
import { rejection } from "../executors/support.js";
import { eventually } from "../support/eventually.js";
import { failCommand } from "../support/failpoint.js";
import { startProxy } from "../support/proxy.js";
import { freshDatabase, type OwnServer, type SpecDatabase, startOwnServer } from "../support/server.js";

describe("a start with a database that falls silent", () => {
  let server: OwnServer;
  let database: SpecDatabase;
  let proxy: Awaited<ReturnType<typeof startProxy>>;

  before(async () => {
    server = await startOwnServer();
    database = await freshDatabase(server);
  });
  after(async () => {
    await database.client.close();
    await server.dispose();
  });
  beforeEach(async () => {
    proxy = await startProxy({ port: server.port });
  });
  afterEach(() => proxy.close());

  const nothing = defineTask({ name: "nothing", input: z.any(), where: "main", run: () => 1 });

  /** @param logged - told of each line of the log, as it is written */
  function start(
    logged: (line: { msg?: unknown; service?: unknown }) => void,
    options: { tasks?: TaskDefinition[]; startTimeoutMilliseconds?: number } = {},
  ): Promise<Gateway> {
    const { tasks = [nothing], startTimeoutMilliseconds = 1_500 } = options;
    const log = createLog("debug", { write: (line: string) => logged(JSON.parse(line)) });
    const mongo = `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`;
    const settings = settingsOf(
      { port: 0, mongo, interfaces: { items: { read: true } }, tasks: { definitions: tasks } },
      {},
    );
    return startGateway(settings, log, undefined, { startTimeoutMilliseconds });
  }

  it("says that it can't be reached where it was reached, and then was away", async () => {
    const error = await rejection(start(({ msg }) => msg === "database reached" && proxy.blackhole(), { tasks: [] }));
    expect(error).to.be.instanceOf(DatabaseUnreachableError);
  });

  it("says so where that happens when the tasks are prepared", async () => {
    const error = await rejection(start(({ service }) => service === "oplog" && proxy.blackhole()));
    expect(error).to.be.instanceOf(DatabaseUnreachableError);
  });

  for (const command of ["create", "createIndexes"]) {
    it(`goes on although a connection breaks in ${command}, and makes the tasks' collection as it should be`, async () => {
      await database.db.dropDatabase();
      await failCommand(database.client, { times: 1 }, { failCommands: [command], closeConnection: true });
      const gateway = await start(() => {}, { startTimeoutMilliseconds: 20_000 });
      const [made] = (await database.db.listCollections({ name: "tasks" }).toArray()) as { options?: Document }[];
      expect(made?.options).to.deep.include({ changeStreamPreAndPostImages: { enabled: true } });
      await eventually(async () => (await database.db.collection("tasks").indexes()).length === 2);
      await gateway.stop();
    });
  }

  it("leaves a tasks' collection alone that is as it should be, and makes its index whatever becomes of its images", async () => {
    await database.db.dropDatabase();
    await database.db.createCollection("tasks", { changeStreamPreAndPostImages: { enabled: true } });
    const isAboutImages = ({ msg }: { msg?: unknown }): boolean => /could not be given its .*images/.test(String(msg));
    const illegalOperation = 20;
    for (const [command, isTold] of [
      ["listCollections", true],
      ["collMod", false],
    ] as const) {
      await failCommand(database.client, "alwaysOn", { failCommands: [command], errorCode: illegalOperation });
      let wasTold = false;
      const gateway = await start(
        (line) => {
          wasTold ||= isAboutImages(line);
        },
        { startTimeoutMilliseconds: 20_000 },
      ).finally(() => failCommand(database.client, "off", undefined));
      await eventually(async () => (await database.db.collection("tasks").indexes()).length === 2);
      await gateway.stop();
      expect(wasTold, command).to.equal(isTold);
    }
  });

  it("is given up in time where the server is found and does not answer", async () => {
    await failCommand(
      database.client,
      { times: 1 },
      { failCommands: ["buildInfo"], blockConnection: true, blockTimeMS: 15_000 },
    );
    const began = performance.now();
    const error = await rejection(start(() => {}));
    expect(error).to.be.instanceOf(DatabaseUnreachableError).with.property("message").that.contains("does not answer");
    expect(performance.now() - began).to.be.below(10_000);
  });
});
