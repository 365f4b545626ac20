import { BSON } from "mongodb";
import type { TaskProgress } from "./define.js";
import { storageProblem } from "./failure.js";

const maxProgressBytes = 16_000;

export interface ProgressWriter {
  /** Takes a value, to be written now or with the next write. */
  report(value: unknown): void;
  /**
   * Ends it: later reports are ignored.
   *
   * @returns when nothing is being written any more, the last value if it has not been written yet
   */
  end(): Promise<{ progress: TaskProgress } | undefined>;
}

/**
 * Writes the newest of any number of values, at most once in an interval. A value that can't be shown is left out: how far
 * a task is must not decide whether it succeeds.
 *
 * @param options.write - stores a value; never called while a call of it is under way
 * @param options.refused - told of a value that was left out, and of a write that failed
 */
export function createProgressWriter(options: {
  intervalMilliseconds: number;
  write(value: TaskProgress): Promise<unknown>;
  refused(error: unknown): void;
}): ProgressWriter {
  let waiting: { progress: TaskProgress } | undefined;
  let writing: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let lastWriteAt = Number.NEGATIVE_INFINITY;
  let hasEnded = false;

  function schedule(): void {
    if (hasEnded || waiting === undefined || writing !== undefined || timer !== undefined) return;
    const wait = lastWriteAt + options.intervalMilliseconds - performance.now();
    if (wait <= 0) void flush();
    else
      timer = setTimeout(() => {
        timer = undefined;
        void flush();
      }, wait);
  }

  async function flush(): Promise<void> {
    if (waiting === undefined) return;
    const { progress } = waiting;
    waiting = undefined;
    lastWriteAt = performance.now();
    writing = options
      .write(progress)
      .catch(options.refused)
      .then(() => {
        writing = undefined;
      });
    await writing;
    schedule();
  }

  return {
    report(value) {
      if (hasEnded) return;
      try {
        waiting = { progress: progressOf(value) };
      } catch (error) {
        options.refused(error);
      }
      schedule();
    },
    async end() {
      hasEnded = true;
      clearTimeout(timer);
      await writing;
      return waiting;
    },
  };
}

function progressOf(value: unknown): TaskProgress {
  if (typeof value === "number" && !Number.isNaN(value)) return Math.min(1, Math.max(0, value));
  if (typeof value !== "object" || value === null) {
    throw new TypeError(`progress has to be a number from 0 to 1 or an object, not ${String(value)}`);
  }
  const problem = storageProblem(value);
  if (problem !== undefined) throw new TypeError(`progress can't be stored: ${problem}`);
  const bytes = BSON.serialize({ value });
  if (bytes.length > maxProgressBytes) {
    throw new RangeError(`progress may have ${maxProgressBytes} bytes, not ${bytes.length}`);
  }
  // A copy: the function may go on filling the same object.
  return BSON.deserialize(bytes).value;
}
