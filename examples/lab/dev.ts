/*
 * `make dev`: the whole lab from a fresh clone. A replica set, a data set, the gateway with its page, and a program that
 * keeps the database moving. Ctrl-C stops all but the replica set.
 */
import { createWriteStream } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeFastq } from "./make-fastq.js";
import { type Child, runCommand, startChild } from "./processes.js";
import { labSettings } from "./settings.js";

const host = process.env.HOST || "127.0.0.1";
const port = process.env.PORT || "8080";
const children: Child[] = [];
let stopping: Promise<void> | undefined;
let databaseIsOurs = false;

const say = (line: string): void => console.log(line);
const from = (name: string) => (line: string) => console.log(`  ${name.padEnd(8)}| ${line}`);

process.on("SIGINT", onSignal).on("SIGTERM", onSignal);

try {
  await main();
} catch (error) {
  if (stopping === undefined) await giveUp((error as Error).message);
}

async function main(): Promise<void> {
  await refusePortInUse();
  const settings = labSettings();
  const uri = await startReplica();
  if (stopping) return;

  say("data:     a FASTQ file");
  const file = join(settings.dataFolder, "reads.fastq");
  const { made, bytes } = makeFastq(file);
  from("data")(`${file}, ${(bytes / 1e6).toFixed(0)} MB, ${made ? "made now" : "was there already"}`);

  say("gateway:  starting");
  // The page shows what happens; the terminal is for what goes wrong.
  const environment = { MONGODB_URI: uri, LOG_LEVEL: process.env.LOG_LEVEL || "warn" };
  const log = createWriteStream(join(settings.dataFolder, "gateway.log"), { flags: "a" });
  const printGateway = (line: string): void => {
    log.write(`${line}\n`);
    from("gateway")(logLine(line));
  };
  const gateway = startChild(
    "gateway",
    fileURLToPath(new URL("./serve.ts", import.meta.url)),
    environment,
    printGateway,
  );
  children.push(gateway);
  const ready = await gateway.ready;
  if (stopping) return;
  if (ready?.port === undefined) {
    await giveUp(`The gateway did not start (${describe(await gateway.ended)}); why is above.`);
    return;
  }

  say("writer:   starting");
  const writerCommand = "node --import tsx examples/lab/writer.ts";
  const writer = startChild(
    "writer",
    fileURLToPath(new URL("./writer.ts", import.meta.url)),
    { MONGODB_URI: uri },
    from("writer"),
  );
  children.push(writer);
  const hasWriter = (await writer.ready) !== undefined;
  if (stopping) return;

  void gateway.ended.then((end) => {
    if (stopping === undefined)
      void giveUp(
        `The gateway ended (${describe(end)}); why is above, more in gateway.log of the data folder. \`make dev\` starts it again.`,
      );
  });
  void writer.ended.then((end) => {
    if (stopping !== undefined) return;
    say(`\nThe writer ended (${describe(end)}); why is above. The page stays, but little moves. To start it again:`);
    say(`  MONGODB_URI=${JSON.stringify(withoutPassword(uri))} ${writerCommand}`);
  });
  announce(ready.port, uri, hasWriter);
}

async function startReplica(): Promise<string> {
  say(process.env.MONGODB_URI ? "database: the one of MONGODB_URI" : "database: a local replica set (make replica)");
  const { end, lines } = await runCommand(process.execPath, ["replica-set/replica.mjs", "start"], from("replica"));
  const uri = lines.at(-1);
  if (stopping !== undefined || end !== 0 || uri === undefined) {
    throw new Error("There is no database to work with; why is above. `make replica` tries this step alone.");
  }
  databaseIsOurs = !process.env.MONGODB_URI;
  return uri;
}

function announce(actualPort: number, uri: string, hasWriter: boolean): void {
  const at = `${host.includes(":") ? `[${host}]` : host}:${actualPort}`;
  say("");
  say(`  Page      http://${at}/`);
  say(`  API       http://${at}/api/samples, /api/jobs, /api/tasks; http://${at}/openapi.json`);
  say(`  Changes   ws://${at}/ws`);
  say(`  Database  ${withoutPassword(uri)}`);
  say("");
  say(
    `  ${hasWriter ? "A second program is writing to the database: the page moves." : "The writer did not start: the page is there, but little moves."}`,
  );
  say(`  Ctrl-C stops the lab${databaseIsOurs ? "; the database keeps running" : ""}.`);
}

function onSignal(signal: NodeJS.Signals): void {
  if (stopping !== undefined) {
    for (const child of children) child.kill();
    process.exit(1);
  }
  say(`\n${signal === "SIGINT" ? "Ctrl-C" : signal}: stopping the lab`);
  void stopAll().then(() => {
    say(databaseIsOurs ? "Stopped. The database keeps running: make replica-stop" : "Stopped.");
    process.exit(0);
  });
}

async function giveUp(reason: string): Promise<void> {
  say(`\n${reason}`);
  await stopAll();
  if (databaseIsOurs) say("The database keeps running: make replica-stop");
  process.exit(1);
}

/** The writer first, so that it does not write to no one's use. */
function stopAll(): Promise<void> {
  stopping ??= (async () => {
    for (const child of [...children].reverse()) {
      if (!child.hasEnded) await child.stop();
    }
  })();
  return stopping;
}

/** Told before minutes are spent on a database. */
async function refusePortInUse(): Promise<void> {
  const problem = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen({ host, port: Number(port), exclusive: true }, () => server.close(() => resolve(undefined)));
  });
  if (problem === undefined) return;
  const another = Number(port) > 60_000 ? Number(port) - 10 : Number(port) + 10;
  if (problem.code === "EADDRINUSE") {
    throw new Error(`Port ${port} is in use by another program. Take another: PORT=${another} make dev`);
  }
  throw new Error(`Nothing can listen on ${host}:${port}: ${problem.message}`);
}

/** The gateway's log is JSON for machines: here its level, message and error are enough; all of it is in `gateway.log`. */
function logLine(line: string): string {
  if (!line.startsWith("{")) return line;
  try {
    const { level, msg, task, err } = JSON.parse(line) as Record<string, unknown> & { err?: { message?: unknown } };
    return [level, task, msg, err?.message].filter((part) => part !== undefined).join(": ");
  } catch {
    // Not JSON after all: shown as it is.
    return line;
  }
}

function describe(end: number | NodeJS.Signals): string {
  return typeof end === "number" ? `exit code ${end}` : end;
}

function withoutPassword(uri: string): string {
  return uri.replace(/\/\/[^@/]*@/, "//…@");
}
