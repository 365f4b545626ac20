/** The bare driver loop with nobody connected: counts events and does nothing with them. */
import { MongoClient } from "mongodb";
import { answer } from "./rpc.js";
import { openStream } from "./stream.js";

let events = 0;
export const methods = { events: () => events };

const client = await new MongoClient(process.env.MONGODB_URI ?? "").connect();
const stream = openStream(client.db());
await stream.tryNext();
answer(methods);
for await (const _change of stream) events += 1;
