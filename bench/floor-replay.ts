/** The bare driver loop from a place in the past: how fast the changes since then can be had at all. */
import { MongoClient, Timestamp } from "mongodb";
import { answer } from "./rpc.js";
import { openStream } from "./stream.js";

const client = await new MongoClient(process.env.MONGODB_URI ?? "").connect();

export const methods = {
  /** @returns how many milliseconds it took from opening the stream to the last of so many changes */
  async replay(from: { seconds: number; increment: number; changes: number }): Promise<number> {
    const began = performance.now();
    const stream = openStream(client.db(), {
      startAtOperationTime: new Timestamp({ t: from.seconds, i: from.increment }),
    });
    let changes = 0;
    for await (const { operationType } of stream) {
      if (operationType === "insert" || operationType === "update") changes += 1;
      if (changes === from.changes) break;
    }
    return performance.now() - began;
  },
};

answer(methods);
