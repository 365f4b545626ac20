// What the specs' tasks do in workers.
import { appendFileSync } from "node:fs";
import type { TaskContext } from "../../../src/index.js";

export function sum(input: { numbers: readonly number[] }, context: TaskContext): { sum: number; pid: number } {
  context.progress(0.5);
  return { sum: input.numbers.reduce((total, value) => total + value, 0), pid: process.pid };
}

/** Says which process it is in, then blocks its worker for ever. */
export function block(_input: unknown, context: TaskContext): never {
  context.progress({ pid: process.pid });
  for (;;);
}

/** Appends to a file as long as it lives. */
export async function tick(input: { file: string }, context: TaskContext): Promise<never> {
  for (;;) {
    appendFileSync(input.file, ".");
    context.progress({ pid: process.pid });
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function crash(): never {
  process.exit(7);
}

export function fail(): never {
  const error = new RangeError("the sample mongodb://reader:canary@example.test/db is empty\nsecond line");
  Object.assign(error, { code: "sample-empty" });
  throw error;
}
