import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect } from "chai";
import type { Document } from "mongodb";
import { z } from "zod";
import { defineTask } from "../../src/index.js";
import { startTestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

/** Requests that last as long as their client pleases. Each resolves when the gateway is at it. */
const slowRequests: Record<string, (socket: Socket, url: string) => Promise<unknown>> = {
  "half of a body": async (socket, url) => {
    socket.write(
      'POST /api/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"name":',
    );
    // It was sent before this, to the same event loop.
    await fetch(`${url}/livez`);
  },
  "an answer that is not read": async (socket) => {
    socket.write("GET /api/large?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n");
    await once(socket, "data");
    socket.pause();
  },
};

describe("a gateway that stops", () => {
  let database: SpecDatabase;

  before(async () => {
    database = await freshDatabase();
    const text = "x".repeat(16_000);
    const large = Array.from({ length: 1_000 }, (_, _id) => ({ _id, text }) as Document);
    await database.db.collection("large").insertMany(large);
  });
  after(() => database.dispose());

  for (const [what, begin] of Object.entries(slowRequests)) {
    it(`takes nothing of the tasks' grace for ${what}`, async () => {
      let begun = (): void => {};
      const isRunning = new Promise<void>((resolve) => {
        begun = resolve;
      });
      const held = defineTask({
        name: "held",
        input: z.any(),
        where: "main",
        allow: () => true,
        // It takes all of its grace, and ends when it is told that this is over.
        run: async (_, { signal }) => {
          begun();
          await once(signal, "abort");
        },
      });
      const { gateway, url, logged, stop } = await startTestGateway({
        mongo: database.uri,
        interfaces: { large: { read: true } },
        tasks: { definitions: [held] },
        shutdown: { graceSeconds: 6 },
      });
      const tasks = database.db.collection("tasks");
      const running = await tasks.insertOne({ name: "held", state: "queued", created_at: new Date() });
      await isRunning;
      const socket = connect(gateway.port, "127.0.0.1");
      await once(socket, "connect");
      await begin(socket, url);
      const stopped = stop();
      const late = await tasks.insertOne({ name: "held", state: "queued", created_at: new Date() });
      await stopped;
      expect(logged.filter(({ msg }) => msg === "service did not stop in time")).to.deep.equal([]);
      expect(await tasks.findOne({ _id: running.insertedId })).to.include({ state: "complete" });
      expect(await tasks.findOne({ _id: late.insertedId })).to.include({ state: "queued" });
      socket.destroy();
    });
  }
});
