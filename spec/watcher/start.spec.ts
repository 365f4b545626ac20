import { expect } from "chai";
import { settingsOf } from "../../src/config/load.js";
import { DatabaseUnreachableError } from "../../src/errors.js";
import { startGateway } from "../../src/gateway.js";
import { createLog } from "../../src/log.js";
import { rejection } from "../executors/support.js";
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

  /** @param logged - told of each line of the log, as it is written */
  function start(logged: (message: unknown) => void): Promise<unknown> {
    const log = createLog("debug", { write: (line: string) => logged(JSON.parse(line).msg) });
    const mongo = `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`;
    const settings = settingsOf({ port: 0, mongo, interfaces: { items: { read: true } } }, {});
    return startGateway(settings, log, undefined, { startTimeoutMilliseconds: 1_500 });
  }

  it("says that it can't be reached where it was reached, and then was away", async () => {
    const error = await rejection(start((message) => message === "database reached" && proxy.blackhole()));
    expect(error).to.be.instanceOf(DatabaseUnreachableError);
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
