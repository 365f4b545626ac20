import type { Logger } from "../log.js";
import { sleep } from "../retry.js";
import type { Exported, Runnable, WorkerContext } from "./exported.js";
import {
  type ErrorDescription,
  type ExecutorKind,
  ExecutorQueueFullError,
  ExecutorStoppedError,
  ExecutorTimeoutError,
  rebuildError,
  WorkerCrashedError,
} from "./worker-errors.js";
import { createWorkerPool, kill, type WorkerHandle, type WorkerHandles, type WorkerPool } from "./worker-handles.js";
import {
  type CallEvent,
  type CallOutcome,
  type CallRequest,
  decode,
  encode,
  performMethod,
  referenceTo,
} from "./worker-protocol.js";

export interface PoolOptions {
  /** Workers at most; each is started when it is first needed and kept. Default 2. */
  max?: number;
  /** The heap of each worker, in megabytes; a call that needs more loses its worker. Default: Node's own limit. */
  memoryMegabytes?: number;
}

export interface ExecutorsOptions {
  threads?: PoolOptions;
  processes?: PoolOptions;
  /** Calls that may wait for a worker, for threads and for processes each. Default 1000. */
  queue?: number;
  /** How long a call may run, where the call does not say. Default: for ever. */
  timeoutMilliseconds?: number;
  log?: Logger;
}

export interface RunOptions {
  /** Aborted: the call is rejected with the signal's reason at once, and its worker is ended if it had begun. */
  signal?: AbortSignal | undefined;
  /** How long the call may run, from when a worker begins with it; waiting for a worker does not count. */
  timeoutMilliseconds?: number | undefined;
}

export interface Executor {
  /**
   * Runs a function in a worker and resolves with its result.
   *
   * @param fn - sent as text if it is a function, so it may refer to nothing outside itself; or what `exported` returns
   * @param args - copied when `run` is called: anything that V8 can serialise
   * @param options.onProgress - the function then gets a `WorkerContext` after its arguments
   * @throws what the function throws, as an `Error` with the name, message, code and stack it had in the worker
   * @throws ExecutorTimeoutError, ExecutorQueueFullError, WorkerCrashedError, ExecutorStoppedError,
   *   NotSerialisableError, BadFunctionError, ThrownValueError, or the signal's reason
   */
  run<A extends unknown[], R, P>(
    fn: Runnable<[...A, WorkerContext<P>], R>,
    args: A,
    options: RunOptions & { onProgress(value: P): void },
  ): Promise<Awaited<R>>;
  run<A extends unknown[], R>(fn: Runnable<A, R>, args: A, options?: RunOptions): Promise<Awaited<R>>;
  /** Counts of this moment. */
  stats(): { running: number; waiting: number; workers: number };
}

type CallOptions = RunOptions & { onProgress?(value: unknown): void };

interface Call {
  readonly request: CallRequest;
  readonly options: CallOptions;
  /** Set when a worker has begun with the call. */
  worker?: WorkerHandle;
  crash?: ErrorDescription;
  timer?: NodeJS.Timeout;
  settled: boolean;
  settle(outcome: { value: unknown } | { error: unknown }): void;
}

const maxStarts = 3;
const stopGraceMilliseconds = 500;
const maxTimerMilliseconds = 2 ** 31 - 1;

/**
 * One pool with its own queue. workerpool's is left empty, for three reasons: it counts cancelled calls against its
 * cap, it stops serving when the only worker crashes while others wait, and it gives a call to a worker that has died
 * idle. So calls are handed over only when a worker is free, and again if their worker died before it began.
 */
export class CallRunner implements Executor {
  readonly #kind: ExecutorKind;
  readonly #max: number;
  readonly #queue: number;
  readonly #timeoutMilliseconds: number | undefined;
  readonly #log: Logger | undefined;
  readonly #pool: WorkerPool;
  readonly #workers: WorkerHandles;
  readonly #waiting: Call[] = [];
  readonly #running = new Map<number, Call>();
  #state: "new" | "started" | "stopped" = "new";
  #lastId = 0;

  constructor(kind: ExecutorKind, all: ExecutorsOptions, own: PoolOptions) {
    this.#kind = kind;
    this.#max = wholeNumber(`${kind} workers`, own.max ?? 2, 1);
    this.#queue = wholeNumber("queue", all.queue ?? 1000, 0);
    this.#timeoutMilliseconds = all.timeoutMilliseconds;
    this.#log = all.log;
    const { pool, handles } = createWorkerPool(kind, {
      max: this.#max,
      ...(own.memoryMegabytes !== undefined && {
        memoryMegabytes: wholeNumber("memoryMegabytes", own.memoryMegabytes, 1),
      }),
      onEvent: (event, worker) => this.#onEvent(event, worker),
      onEnd: (reason, worker) => this.#onEnd(reason, worker),
    });
    this.#pool = pool;
    this.#workers = handles;
  }

  start(): void {
    if (this.#state !== "new") throw new ExecutorStoppedError("executors start once");
    this.#state = "started";
    process.on("exit", this.#killAll);
  }

  async run(
    fn: ((...args: never[]) => unknown) | Exported<never[], unknown>,
    args: unknown[],
    options: CallOptions = {},
  ): Promise<never> {
    if (this.#state !== "started") {
      throw new ExecutorStoppedError(`the executors are ${this.#state === "new" ? "not started yet" : "stopped"}`);
    }
    options.signal?.throwIfAborted();
    const request = {
      call: ++this.#lastId,
      function: referenceTo(fn),
      args: encode("arguments", args),
      progress: options.onProgress !== undefined,
    };
    if (this.#running.size >= this.#max && this.#waiting.length >= this.#queue) {
      throw new ExecutorQueueFullError(this.#kind, this.#queue);
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => this.#abandon(call, options.signal?.reason);
      const call: Call = {
        request,
        options,
        settled: false,
        settle(outcome) {
          if (call.settled) return;
          call.settled = true;
          clearTimeout(call.timer);
          options.signal?.removeEventListener("abort", onAbort);
          if ("error" in outcome) reject(outcome.error);
          else resolve(outcome.value as never);
        },
      };
      options.signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(call);
      this.#dispatch();
    });
  }

  stats(): { running: number; waiting: number; workers: number } {
    return { running: this.#running.size, waiting: this.#waiting.length, workers: this.#workers.live.size };
  }

  async stop(): Promise<void> {
    this.#state = "stopped";
    const error = new ExecutorStoppedError("the executors were stopped before the call was done");
    for (const call of [...this.#waiting, ...this.#running.values()]) this.#abandon(call, error);
    // Workers that idle are asked to leave. Whether workerpool sees them go is of no account: the handles tell.
    this.#pool.terminate(true).catch((reason) => this.#log?.debug({ err: reason }, "worker had gone already"));
    const grace = new AbortController();
    void sleep(stopGraceMilliseconds, grace.signal).then((elapsed) => elapsed && this.#killAll());
    await Promise.all(this.#workers.live.values());
    grace.abort();
    process.removeListener("exit", this.#killAll);
  }

  #dispatch(): void {
    while (this.#running.size < this.#max) {
      const call = this.#waiting.shift();
      if (call === undefined) return;
      this.#running.set(call.request.call, call);
      void this.#perform(call);
    }
  }

  // A call whose caller has been answered already keeps its place until its worker is free or gone.
  async #perform(call: Call): Promise<void> {
    for (let starts = 1; !call.settled; starts++) {
      try {
        const outcome = (await this.#pool.exec(performMethod, [call.request])) as CallOutcome;
        if ("result" in outcome) call.settle({ value: decode(outcome.result) });
        else call.settle({ error: rebuildError(outcome.error) });
      } catch (error) {
        if (call.worker !== undefined || starts >= maxStarts) call.settle({ error: this.#crashOf(call, error) });
      }
    }
    this.#running.delete(call.request.call);
    this.#dispatch();
  }

  #onEvent(event: CallEvent, worker: WorkerHandle): void {
    const call = this.#running.get(event.call);
    if (call === undefined) return;
    if (event.event === "started") {
      call.worker = worker;
      if (call.settled) kill(worker);
      else this.#limitTime(call);
    } else if (event.event === "crashed") {
      call.crash = event.error;
      kill(worker);
    } else if (!call.settled) {
      try {
        call.options.onProgress?.(event.value);
      } catch (error) {
        this.#abandon(call, error);
      }
    }
  }

  #onEnd(reason: string, worker: WorkerHandle): void {
    if (this.#state !== "started") return;
    this.#log?.warn({ worker: this.#kind, reason, ...("pid" in worker && { workerPid: worker.pid }) }, "worker ended");
  }

  #limitTime(call: Call): void {
    const timeout = call.options.timeoutMilliseconds ?? this.#timeoutMilliseconds;
    if (timeout === undefined) return;
    call.timer = setTimeout(
      () => this.#abandon(call, new ExecutorTimeoutError(this.#kind, timeout)),
      Math.min(timeout, maxTimerMilliseconds),
    );
  }

  #abandon(call: Call, error: unknown): void {
    call.settle({ error });
    const place = this.#waiting.indexOf(call);
    if (place >= 0) this.#waiting.splice(place, 1);
    if (call.worker !== undefined) kill(call.worker);
  }

  #crashOf(call: Call, error: unknown): WorkerCrashedError {
    const cause = call.crash === undefined ? (error as { cause?: unknown }).cause : rebuildError(call.crash);
    if (cause instanceof Error) return new WorkerCrashedError(this.#kind, `${cause.name}: ${cause.message}`, { cause });
    if (call.worker === undefined) return new WorkerCrashedError(this.#kind, `no worker started: ${String(error)}`);
    return new WorkerCrashedError(this.#kind, this.#workers.endOf(call.worker));
  }

  // Also run when the process leaves in haste, so that no worker goes on computing for no one.
  readonly #killAll = (): void => {
    for (const worker of this.#workers.live.keys()) kill(worker);
  };
}

function wholeNumber(name: string, value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new RangeError(`${name} must be a whole number of at least ${least}, not ${value}`);
  }
  return value;
}
