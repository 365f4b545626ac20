/*
 * Another program: it knows the database and nothing of the gateway. It keeps the laboratory busy with a few changes a
 * second, until SIGTERM or SIGINT.
 */
import { setTimeout as delay } from "node:timers/promises";
import { MongoClient } from "mongodb";
import { createLaboratory } from "./laboratory.js";
import { stopWithParent, tellParent } from "./parent.js";

const uri = process.env.MONGODB_URI;
if (!uri) {
  console.error("writer: MONGODB_URI is not set; `node replica-set/replica.mjs uri` prints the local one");
  process.exit(2);
}
const pace = Number(process.env.LAB_PACE_MILLISECONDS || 350);
const stopping = new AbortController();
process.on("SIGTERM", () => stopping.abort()).on("SIGINT", () => stopping.abort());
stopWithParent(() => stopping.abort());

const client = new MongoClient(uri, { serverSelectionTimeoutMS: 10_000 });
const laboratory = createLaboratory(client.db());
let isSeeded = false;
let wait = pace;
while (!stopping.signal.aborted) {
  try {
    if (!isSeeded) {
      await laboratory.seed();
      isSeeded = true;
      tellParent({ ready: "writer" });
    }
    await laboratory.step();
    wait = pace;
  } catch (error) {
    wait = Math.min(wait * 2, 5_000);
    if (!stopping.signal.aborted) console.error(`writer: ${(error as Error).message}; again in ${wait} ms`);
  }
  await pause(wait * (0.5 + Math.random()));
}
await client.close();
process.exit(0);

async function pause(milliseconds: number): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal: stopping.signal });
  } catch {
    // Only the signal ends a wait early, and the loop looks at it.
  }
}
