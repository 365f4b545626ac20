import { type Db, MongoServerError } from "mongodb";
import { TailgateError } from "../errors.js";
import type { Executor, Executors } from "../executors/pools.js";
import type { HttpClient } from "../http-client.js";
import type { Logger } from "../log.js";
import { createBackoff, sleep } from "../retry.js";
import type { MainTaskContext, TaskDefinition } from "./define.js";
import { failureOf, resultFailure, timeoutFailure } from "./failure.js";
import { keepLease, keyOf } from "./lease.js";
import { createProgressWriter } from "./progress.js";
import type { ClaimedTask, TaskEnd, TaskStore } from "./store.js";

const progressIntervalMilliseconds = 200;
/**
 * A server that refuses an end this often will not take it: then it is written without the last progress, and where that is
 * refused as well, without the result: the task fails, rather than being run again.
 */
const maxRefusals = 3;

/** Why a task is ended before its function is done. It is the reason of the function's signal. */
export class TaskInterruptedError extends TailgateError {
  constructor(readonly interruption: Interruption) {
    super(`task-${interruption}`, sentences[interruption]);
  }
}

/** `lost`: the task is not this gateway's any more. `stopping`: this gateway stops and its grace is over. */
export type Interruption = "cancelled" | "timeout" | "lost" | "stopping";

const sentences: Readonly<Record<Interruption, string>> = {
  cancelled: "the task was cancelled",
  timeout: "the task ran for too long",
  lost: "another gateway has taken the task, or may have",
  stopping: "the gateway is stopping",
};

/** What became of a task in this gateway's hands. */
export type Outcome = "complete" | "failed" | "cancelled" | "released" | "lost";

export interface Run {
  interrupt(reason: Interruption): void;
  /** Never rejected. */
  readonly done: Promise<Outcome>;
}

export interface RunOptions {
  store: TaskStore;
  executors: Executors;
  http: HttpClient;
  db: Db;
  log: Logger;
  timeoutMilliseconds: number;
  leaseMilliseconds: number;
  /** How long a function on the main thread is waited for when the gateway stops and has told it to end. */
  settleMilliseconds: number;
  /** Aborted when nothing can be written any more. */
  abandoned: AbortSignal;
}

type Settled = { value: unknown } | { error: unknown };

/** Runs a task that was claimed, and writes what becomes of it. */
export function startRun(task: ClaimedTask, definition: TaskDefinition, options: RunOptions): Run {
  const { store } = options;
  const { fence } = task;
  const log = options.log.child({ task: definition.name, taskId: keyOf(fence._id) });
  const controller = new AbortController();
  let interruption: Interruption | undefined;
  const interrupt = (reason: Interruption): void => {
    if (interruption !== undefined) return;
    interruption = reason;
    controller.abort(new TaskInterruptedError(reason));
  };
  const lease = keepLease({
    leaseMilliseconds: options.leaseMilliseconds,
    since: task.claimedAt,
    renew: () => store.renew(fence),
    lost: () => interrupt("lost"),
    log,
  });
  const progress = createProgressWriter({
    intervalMilliseconds: progressIntervalMilliseconds,
    write: (value) => store.progress(fence, value),
    refused: (error) => log.warn({ err: error }, "progress not written"),
  });

  async function run(): Promise<Outcome> {
    log.info({ attempt: fence.attempts }, "task started");
    const startedAt = performance.now();
    const settled = await perform(task, definition, {
      ...options,
      log,
      interrupt,
      controller,
      report: progress.report,
    });
    const last = await progress.end();
    const outcome = await conclude(settled, last);
    log.info({ outcome, milliseconds: Math.round(performance.now() - startedAt) }, "task ended");
    return outcome;
  }

  async function conclude(settled: Settled | undefined, last: Parameters<TaskStore["end"]>[2]): Promise<Outcome> {
    if (interruption === "cancelled" || interruption === "lost") return interruption;
    if (interruption === "stopping" && (settled === undefined || "error" in settled)) {
      // A function that goes on regardless could meet its own second run. So its lease is left to run out instead, by
      // which time this process is most likely gone.
      if (settled === undefined) return "lost";
      return (await write(() => store.release(fence))) ? "released" : "lost";
    }
    let end = endOf(settled, interruption, options.timeoutMilliseconds);
    if (settled !== undefined && "error" in settled) log.error({ err: settled.error, ...end }, "task failed");
    const isWritten = await write((refusals) => {
      if (refusals > maxRefusals) {
        end = {
          state: "failed",
          error: { code: "result-refused", message: "the database refused to store the result" },
        };
      }
      return store.end(fence, end, refusals < maxRefusals ? last : undefined);
    });
    return isWritten ? end.state : "lost";
  }

  /** Writes until it is written, or the task is lost, or the gateway can't wait any longer. */
  async function write(attempt: (refusals: number) => Promise<boolean>): Promise<boolean> {
    const backoff = createBackoff({ baseMilliseconds: 500, maxMilliseconds: 2_000, floorMilliseconds: 50 });
    let refusals = 0;
    for (;;) {
      try {
        return await attempt(refusals);
      } catch (error) {
        log.warn({ err: error }, "the end of a task not written");
        if (error instanceof MongoServerError) refusals++;
        if (interruption === "lost" || interruption === "cancelled") return false;
        if (!(await sleep(backoff.next(), options.abandoned))) return false;
      }
    }
  }

  const done = run()
    .catch((error): Outcome => {
      log.error({ err: error }, "task abandoned");
      return "lost";
    })
    .finally(() => lease.end());
  return { interrupt, done };
}

function endOf(settled: Settled | undefined, interruption: Interruption | undefined, timeout: number): TaskEnd {
  if (interruption === "timeout" || settled === undefined) return { state: "failed", error: timeoutFailure(timeout) };
  if ("error" in settled) return { state: "failed", error: failureOf(settled.error, timeout) };
  const error = resultFailure(settled.value);
  return error === undefined ? { state: "complete", result: settled.value ?? null } : { state: "failed", error };
}

interface PerformOptions extends RunOptions {
  controller: AbortController;
  interrupt(reason: Interruption): void;
  report(value: unknown): void;
}

/** @returns what the function did, or undefined where it was interrupted and goes on regardless */
async function perform(
  { document }: ClaimedTask,
  definition: TaskDefinition,
  options: PerformOptions,
): Promise<Settled | undefined> {
  const { code } = definition;
  // A schema may take its time, too: it can ask others.
  const timer = setTimeout(() => options.interrupt("timeout"), options.timeoutMilliseconds);
  let parsed: Settled | undefined;
  try {
    parsed = await unlessInterrupted(parseInput(definition, document.input), options);
    if (parsed === undefined || "error" in parsed) return parsed;
    const { value } = parsed;
    if (code.where === "main") {
      // Begun in a later turn: whatever it does first, what called this is done with its own.
      const work = Promise.resolve().then(() => code.run(value, contextOf(options)));
      return await unlessInterrupted(work, options);
    }
  } finally {
    clearTimeout(timer);
  }
  const executor: Executor = code.where === "thread" ? options.executors.threads : options.executors.processes;
  return settle(
    executor.run(code.run, [parsed.value], {
      signal: options.controller.signal,
      timeoutMilliseconds: options.timeoutMilliseconds,
      onProgress: options.report,
    }),
  );
}

function contextOf(options: PerformOptions): MainTaskContext {
  const { signal } = options.controller;
  const { executors } = options;
  return {
    signal,
    http: options.http,
    db: options.db,
    log: options.log,
    progress: options.report,
    runInThread: (fn, ...args) => executors.threads.run(fn, args, { signal }),
    runInProcess: (fn, ...args) => executors.processes.run(fn, args, { signal }),
  };
}

/** What runs on the main thread can't be ended: it is told by its signal, and where the gateway stops it is waited for a while. */
async function unlessInterrupted(promise: Promise<unknown>, options: PerformOptions): Promise<Settled | undefined> {
  const { signal } = options.controller;
  const aborted = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
    if (signal.aborted) resolve(undefined);
  });
  const work = settle(promise);
  const settled = await Promise.race([work, aborted]);
  const { reason } = signal;
  const isStopping = reason instanceof TaskInterruptedError && reason.interruption === "stopping";
  if (settled !== undefined || !isStopping) return settled;
  return Promise.race([work, sleep(options.settleMilliseconds, options.abandoned).then(() => undefined)]);
}

/** The schema is applied a second time, for a program that writes to the database itself has passed no first. */
async function parseInput(definition: TaskDefinition, input: unknown): Promise<unknown> {
  const parsed = await definition.input.safeParseAsync(input);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => `${issue.path.join(".") || "input"}: ${issue.message}`);
  throw new TailgateError("bad-input", fields.join("; "));
}

function settle(promise: Promise<unknown>): Promise<Settled> {
  return promise.then(
    (value) => ({ value }),
    (error) => ({ error }),
  );
}
