/**
 * What it costs to hand a call to a worker, as the table of docs/executors.md. Needs the build, whose workers start as
 * those of an installed gateway do: `npm run build`, then `npx tsx bench/delegation.ts` (`--json` for figures alone).
 */
import type { createExecutors as Create, Executor } from "../src/executors/pools.js";

// Else the workers would load tsx as well, which takes longer than all the rest of their start.
process.execArgv.length = 0;
const built = new URL("../dist/executors/pools.js", import.meta.url).href;
const { createExecutors } = (await import(built)) as { createExecutors: typeof Create };

interface Row {
  what: string;
  inline?: number;
  thread: number;
  process: number;
}

const identity = (value: unknown) => value;
const nothing = () => {};
const count = (value: { length: number }) => value.length;
const megabyte = Buffer.alloc(1_000_000, 1);
const rows = Array.from({ length: 10_000 }, (_, id) => ({
  id,
  name: `sample ${id}`,
  value: id / 7,
  at: new Date(id),
  done: true,
}));

const executors = createExecutors();
await executors.start(new AbortController().signal);
const both = [executors.threads, executors.processes] as const;
const table: Row[] = [
  { what: "a call without arguments", inline: await inline(), ...(await each((pool) => pool.run(nothing, []), 3000)) },
  { what: "1 MB Buffer there", ...(await each((pool) => pool.run(count, [megabyte]), 200)) },
  { what: "1 MB Buffer there and back", ...(await each((pool) => pool.run(identity, [megabyte]), 200)) },
  { what: "10,000 rows there", ...(await each((pool) => pool.run(count, [rows]), 60)) },
  { what: "10,000 rows there and back", ...(await each((pool) => pool.run(identity, [rows]), 60)) },
];
await executors.stop();
table.push({ what: "start of a worker", thread: await startOf("threads"), process: await startOf("processes") });

process.stdout.write(process.argv.includes("--json") ? `${JSON.stringify(table, null, 2)}\n` : markdown(table));

/** Median milliseconds of a call in a thread and in a process, taken in turns so that noise meets both. */
async function each(
  call: (pool: Executor) => Promise<unknown>,
  times: number,
): Promise<{ thread: number; process: number }> {
  const taken: [number[], number[]] = [[], []];
  for (let n = -20; n < times; n++) {
    for (const [index, pool] of both.entries()) {
      const begin = performance.now();
      await call(pool);
      if (n >= 0) taken[index as 0 | 1].push(performance.now() - begin);
    }
  }
  return { thread: median(taken[0]), process: median(taken[1]) };
}

/** Milliseconds of a call that is awaited in place. */
async function inline(): Promise<number> {
  const times = 100_000;
  const begin = performance.now();
  for (let n = 0; n < times; n++) await nothing();
  return (performance.now() - begin) / times;
}

/** Median milliseconds until the first call of new executors is done. */
async function startOf(kind: "threads" | "processes"): Promise<number> {
  const taken: number[] = [];
  for (let n = 0; n < 21; n++) {
    const fresh = createExecutors();
    await fresh.start(new AbortController().signal);
    const begin = performance.now();
    await fresh[kind].run(nothing, []);
    taken.push(performance.now() - begin);
    await fresh.stop();
  }
  return median(taken);
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function markdown(table: Row[]): string {
  const line = ({ what, inline, thread, process }: Row) =>
    `| ${what} | ${inline === undefined ? "" : time(inline)} | ${time(thread)} | ${time(process)} |\n`;
  return `| | inline | thread | process |\n| --- | --- | --- | --- |\n${table.map(line).join("")}`;
}

function time(milliseconds: number): string {
  if (milliseconds < 0.001) return `${rounded(milliseconds * 1e6)} ns`;
  if (milliseconds < 1) return `${rounded(milliseconds * 1000)} µs`;
  return `${rounded(milliseconds)} ms`;
}

/** Two digits: more would claim what no machine repeats. */
function rounded(value: number): number {
  return Number(value.toPrecision(2));
}
