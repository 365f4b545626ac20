/** The benchmarks: see README.md. Progress goes to standard error, the table or JSON to standard output. */
import { parseArgs } from "node:util";
import { type Context, createContext, requireGateway } from "./context.js";
import { type BenchDatabase, openDatabase } from "./database.js";
import { capture } from "./measures/capture.js";
import { fanout, subscribed } from "./measures/fanout.js";
import { latency } from "./measures/latency.js";
import { matcher } from "./measures/matcher.js";
import { memory, memorySubscribed } from "./measures/memory.js";
import { replay } from "./measures/replay.js";
import { returning } from "./measures/return.js";
import { views } from "./measures/views.js";
import { buildPrograms, stopAll } from "./processes.js";
import { type Outcome, summarise, table } from "./report.js";
import type { Operation } from "./writer.js";

const measures = {
  fanout,
  subscribed,
  views,
  matcher,
  capture,
  latency,
  memory,
  "memory-subscribed": memorySubscribed,
  return: returning,
  replay,
};
type MeasureName = keyof typeof measures;

const usage = `usage: npx tsx bench/main.ts [MEASURE]... [options]
  MEASURE            ${Object.keys(measures).join(", ")}; default: all
  --rounds N         rounds of floor and gateway, one after the other (default 5, with --quick 2)
  --quick            shorter turns: a look, not a figure
  --operation NAME   what is written: insert (default) or update
  --profile FOLDER   writes a CPU profile of each gateway there, which changes the figures
  --self-check       sets the floor beside itself: all ratios have to be about 1
  --json             prints JSON instead of a table`;

interface Options {
  names: MeasureName[];
  rounds: number;
  quick: boolean;
  operation: Operation;
  selfCheck: boolean;
  profile: string | undefined;
  json: boolean;
}

process.exitCode = await main();

async function main(): Promise<number> {
  let options: Options | "help";
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}\n`);
    return 2;
  }
  if (options === "help") {
    process.stdout.write(`${usage}\n`);
    return 0;
  }
  const interrupted = onInterrupt();
  let database: BenchDatabase | undefined;
  try {
    if (!options.selfCheck) requireGateway();
    await buildPrograms();
    database = await openDatabase(progress);
    return await run(options, database, interrupted);
  } catch (error) {
    process.stderr.write(`${interrupted.aborted ? "interrupted" : (error as Error).stack}\n`);
    return interrupted.aborted ? 130 : 1;
  } finally {
    await stopAll();
    await database?.stop();
  }
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function run(options: Options, database: BenchDatabase, signal: AbortSignal): Promise<number> {
  const { rounds, operation, selfCheck, profile } = options;
  const scale = options.quick ? 0.3 : 1;
  const context = createContext({
    ...{ scale, rounds, operation, selfCheck, profile, progress, signal },
    databaseUri: database.uriOf,
  });
  const outcomes: Outcome[] = [];
  for (const name of options.names) outcomes.push(await measured(name, context, signal));

  const summaries = outcomes.flatMap(({ measurements, invalid }) =>
    measurements.map((measurement) => summarise(measurement, invalid.length === 0)),
  );
  const invalid = outcomes.flatMap((outcome) => outcome.invalid);
  const doubts = outcomes.flatMap((outcome) => outcome.doubts);
  if (options.json) {
    process.stdout.write(
      `${JSON.stringify({ ...options, node: process.version, summaries, invalid, doubts }, null, 2)}\n`,
    );
  } else {
    process.stdout.write(`${table(summaries, selfCheck ? "second floor" : "gateway")}\n`);
    for (const text of doubts) process.stdout.write(`doubtful: ${text}\n`);
    for (const text of invalid) process.stdout.write(`INVALID: ${text}\n`);
  }
  return invalid.length === 0 ? 0 : 1;
}

/** A measure that fails makes the run invalid; the others are measured all the same. */
async function measured(name: MeasureName, context: Context, signal: AbortSignal): Promise<Outcome> {
  try {
    return await measures[name](context);
  } catch (error) {
    signal.throwIfAborted();
    const { stack, message } = error as Error;
    progress(`${stack}`);
    return { measurements: [], invalid: [`${name}: ${message.split("\n", 1)[0]}`], doubts: [] };
  }
}

/** @throws Error that says what is wrong */
function readOptions(args: string[]): Options | "help" {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: { type: "string" },
      quick: { type: "boolean", default: false },
      operation: { type: "string", default: "insert" },
      profile: { type: "string" },
      "self-check": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const { quick, operation, json } = values;
  const all = Object.keys(measures) as MeasureName[];
  const unknown = positionals.find((name) => name !== "all" && !(name in measures));
  if (unknown !== undefined) throw new Error(`there is no measure "${unknown}"`);
  const rounds = Number(values.rounds ?? (quick ? 2 : 5));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds takes a whole number from 1 on");
  if (operation !== "insert" && operation !== "update") throw new Error("--operation is insert or update");
  const everything = positionals.length === 0 || positionals.includes("all");
  const names = everything ? all : all.filter((name) => positionals.includes(name));
  return { names, rounds, quick, operation, selfCheck: values["self-check"], profile: values.profile, json };
}

/** The first Ctrl-C or SIGTERM ends the run in order; a second one ends it at once. */
function onInterrupt(): AbortSignal {
  const interrupted = new AbortController();
  let first = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      // One Ctrl-C can arrive twice: from the terminal, and passed on by npx, tsx or make.
      if (interrupted.signal.aborted && performance.now() - first > 500) process.exit(130);
      if (interrupted.signal.aborted) return;
      first = performance.now();
      interrupted.abort();
    });
  }
  return interrupted.signal;
}
