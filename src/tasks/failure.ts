import { BSON } from "mongodb";
import { ExecutorTimeoutError } from "../executors/worker-errors.js";
import { redact } from "../log.js";
import type { TaskError } from "./document.js";

const maxMessageLength = 500;
/** Below what makes every dashboard's update heavy; far below MongoDB's 16 MB. */
export const maxResultBytes = 1_000_000;
/** MongoDB takes 100 levels, and the task's document is one of them. */
const maxDepth = 90;

/**
 * What a client is told of an error: its code and one line of its message, without credentials. Stack and cause are for
 * the log alone.
 *
 * @param error - whatever a task's function threw
 * @param timeoutMilliseconds - how long the task was allowed to run
 */
export function failureOf(error: unknown, timeoutMilliseconds: number): TaskError {
  if (error instanceof ExecutorTimeoutError) return timeoutFailure(timeoutMilliseconds);
  const { code, message } = (typeof error === "object" && error !== null ? error : {}) as Record<string, unknown>;
  return {
    code: typeof code === "string" && /^[\w.-]{1,64}$/.test(code) ? code : "task-failed",
    message: oneLine(typeof message === "string" && message !== "" ? message : "the task failed without saying why"),
  };
}

export function timeoutFailure(timeoutMilliseconds: number): TaskError {
  return { code: "task-timeout", message: `the task ran for more than ${timeoutMilliseconds / 1_000} s and was ended` };
}

/**
 * @param result - what a task's function returned
 * @returns why it can't be stored, or undefined
 */
export function resultFailure(result: unknown): TaskError | undefined {
  const notSerialisable = (why: string): TaskError => ({
    code: "result-not-serialisable",
    message: oneLine(`the result can't be stored: ${why}`),
  });
  try {
    const problem = storageProblem(result);
    if (problem !== undefined) return notSerialisable(problem);
    const bytes = BSON.calculateObjectSize({ result });
    if (bytes > maxResultBytes) {
      return {
        code: "result-too-large",
        message: `the result has ${bytes} bytes and may have ${maxResultBytes}: store it elsewhere and return where`,
      };
    }
    // The size alone passes over what can't be written.
    BSON.serialize({ result });
    return undefined;
  } catch (error) {
    return notSerialisable(error instanceof Error ? error.message : String(error));
  }
}

/** What the driver would store as something else, or as nothing, without a word, and what MongoDB refuses to store. */
export function storageProblem(value: unknown, depth = 0): string | undefined {
  if (typeof value === "function" || typeof value === "symbol") return `it holds a ${typeof value}`;
  if (typeof value === "bigint" && BigInt.asIntN(64, value) !== value) return "it holds an integer of over 64 bits";
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined;
  if (value instanceof Set) return "it holds a Set: make it a list";
  if (depth >= maxDepth) return `it is nested over ${maxDepth} levels deep, or contains itself`;
  for (const inner of value instanceof Map ? value.values() : Object.values(value)) {
    const problem = storageProblem(inner, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function oneLine(text: string): string {
  const line = redact(text.split("\n", 1)[0] ?? "");
  return line.length > maxMessageLength ? `${line.slice(0, maxMessageLength - 1)}…` : line;
}
