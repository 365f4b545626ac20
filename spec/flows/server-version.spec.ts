import { expect } from "chai";
import { connectClient } from "../support/client.js";
import { startTestGateway } from "../support/gateway.js";
import { startProxy } from "../support/proxy.js";
import { freshDatabase, givenUri, type OwnServer, startOwnServer } from "../support/server.js";

describe("a gateway takes null for undefined as its server does", () => {
  let server: OwnServer;

  before(async function () {
    if (givenUri) this.skip();
    server = await startOwnServer();
  });
  after(() => server?.dispose());

  // https://www.mongodb.com/docs/manual/release-notes/8.0-compatibility/
  for (const [version, shown] of [
    ["7.0.11", [1, 2, 3]],
    ["8.0.11", [2, 3]],
  ] as const) {
    it(`in a rule at MongoDB ${version}: ${shown.join(", ")}`, async () => {
      const database = await freshDatabase(server);
      // The same server, but for what it says that it is.
      const real = String((await database.db.command({ buildInfo: 1 })).version);
      expect(real).to.have.length(version.length);
      const proxy = await startProxy(
        { port: server.port },
        { answered: (chunk) => Buffer.from(chunk.toString("latin1").replaceAll(real, version), "latin1") },
      );
      const gateway = await startTestGateway({
        mongo: `mongodb://127.0.0.1:${proxy.port}/${database.db.databaseName}?directConnection=true`,
        interfaces: { jobs: { read: { ended_at: { $in: [null, 7] } } } },
      });
      expect(gateway.logged.find(({ msg }) => msg === "database reached")?.server).to.equal(version);
      const client = await connectClient(gateway.websocketUrl);
      for (const ended_at of [undefined, null, 7, 8]) {
        const _id = [undefined, null, 7, 8].indexOf(ended_at) + 1;
        gateway.gateway.dispatch("jobs", "insert", { _id, ended_at });
      }
      const told = await client.take(shown.length);
      expect(told.map(({ data }) => (data as { id: number }).id)).to.deep.equal(shown);
      await client.close();
      await gateway.stop();
      await proxy.close();
      await database.dispose();
    });
  }
});
