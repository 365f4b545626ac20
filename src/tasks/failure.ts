import { BSON } from "mongodb";
import { ExecutorTimeoutError } from "../executors/worker-errors.js";
import { redact } from "../log.js";
import type { TaskError } from "./document.js";

const maxMessageLength = 500;
/** Below what makes every dashboard's update heavy; far below MongoDB's 16 MB. */
export const maxResultBytes = 1_000_000;

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
  if (typeof result === "function" || typeof result === "symbol") return notSerialisable(`it is a ${typeof result}`);
  try {
    const bytes = BSON.calculateObjectSize({ result });
    if (bytes > maxResultBytes) {
      return {
        code: "result-too-large",
        message: `the result has ${bytes} bytes and may have ${maxResultBytes}: store it elsewhere and return where`,
      };
    }
    // The size alone passes over what can't be written, such as an integer of more than 64 bits.
    BSON.serialize({ result });
    return undefined;
  } catch (error) {
    return notSerialisable(error instanceof Error ? error.message : String(error));
  }
}

function oneLine(text: string): string {
  const line = redact(text.split("\n", 1)[0] ?? "");
  return line.length > maxMessageLength ? `${line.slice(0, maxMessageLength - 1)}…` : line;
}
