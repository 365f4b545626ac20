/**
 * The bare gateway: what the work costs at least. It promises nothing: no rules, no representations, no resume, no limits.
 * Without MONGODB_URI it is a bare uWebSockets server.
 */

import uws from "uWebSockets.js";
import { MongoClient } from "mongodb";
import { openStream } from "./stream.js";

const app = uws.App();
app.ws("/ws", {
  idleTimeout: 120,
  maxBackpressure: 4 * 1024 * 1024,
  open: (socket) => void socket.subscribe("all"),
});
app.get("/readyz", (response) => void response.end("ready"));

const uri = process.env.MONGODB_URI;
const stream = uri === undefined ? undefined : openStream((await new MongoClient(uri).connect()).db());
await stream?.tryNext();
app.listen("127.0.0.1", Number(process.env.PORT), (socket) => {
  if (!socket) process.exit(1);
});

// Changes of one batch are all handled in microtasks, within one turn of the event loop: uWebSockets then writes to each
// socket once for all of them.
for await (const change of stream ?? []) {
  if (change.operationType !== "insert" && change.operationType !== "update") continue;
  const { operationType: operation, ns, fullDocument: data } = change;
  app.publish("all", JSON.stringify({ interface: ns.coll, operation, data }));
}
