import type { ChildProcess } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { Worker } from "node:worker_threads";
import workerpool from "workerpool";
import type { ExecutorKind } from "./worker-errors.js";
import { type CallEvent, isCallEvent } from "./worker-protocol.js";
import { workerFlags, workerScript } from "./worker-script.js";

export type WorkerPool = ReturnType<typeof workerpool.pool>;
export type WorkerHandle = ChildProcess | Worker;

export interface WorkerPoolOptions {
  max: number;
  memoryMegabytes?: number;
  onEvent(event: CallEvent, handle: WorkerHandle): void;
  onEnd(reason: string, handle: WorkerHandle): void;
}

/** A workerpool with one kind of workers, and the handles of those. */
export function createWorkerPool(
  kind: ExecutorKind,
  options: WorkerPoolOptions,
): { pool: WorkerPool; handles: WorkerHandles } {
  const handles = new WorkerHandles(options);
  const script = workerScript(kind);
  const memory = options.memoryMegabytes;
  const pool = workerpool.pool(script.source, {
    workerType: kind,
    maxWorkers: options.max,
    workerTerminateTimeout: 200,
    workerThreadOpts: {
      eval: script.eval,
      ...(memory !== undefined && { resourceLimits: { maxOldGenerationSizeMb: memory } }),
    },
    forkOpts: {
      // The default, JSON, refuses BigInt and turns a Buffer into a list of numbers.
      serialization: "advanced",
      execArgv: [...workerFlags(), ...(memory === undefined ? [] : [`--max-old-space-size=${memory}`])],
    },
    onCreateWorker() {
      handles.takeNext(kind);
      return undefined;
    },
  });
  return { pool, handles };
}

/** Ends a worker now, whatever it does. A thread inside a call of the operating system ends when that returns. */
export function kill(handle: WorkerHandle): void {
  if (handle instanceof Worker) void handle.terminate();
  else handle.kill("SIGKILL");
}

/**
 * The workers that a pool has at the moment. workerpool 10.0.3 keeps them to itself but can't end one surely: it asks
 * first, twice for its timeout, then sends SIGTERM and nothing stronger, and where the worker ends by itself meanwhile
 * it waits for ever. So they are taken from Node's diagnostics channels.
 */
export class WorkerHandles {
  readonly #options: Pick<WorkerPoolOptions, "onEvent" | "onEnd">;
  readonly #live = new Map<WorkerHandle, Promise<void>>();
  readonly #ends = new WeakMap<WorkerHandle, string>();

  constructor(options: Pick<WorkerPoolOptions, "onEvent" | "onEnd">) {
    this.#options = options;
  }

  /** Each with a promise that is resolved when it has ended. */
  get live(): ReadonlyMap<WorkerHandle, Promise<void>> {
    return this.#live;
  }

  /** What is known of a worker's end. */
  endOf(handle: WorkerHandle): string {
    return this.#ends.get(handle) ?? "for an unknown reason";
  }

  /**
   * Takes the worker that is made next. To be called right before: the channels tell of a new worker synchronously, so
   * whatever they tell later is someone else's.
   */
  takeNext(kind: ExecutorKind): void {
    const channel = kind === "thread" ? "worker_threads" : "child_process";
    const take = (message: unknown) => {
      unsubscribe(channel, take);
      const { worker, process } = message as { worker?: Worker; process?: ChildProcess };
      if (worker !== undefined) this.#track(worker, () => this.#trackThread(worker));
      if (process !== undefined) this.#track(process, () => this.#trackProcess(process));
    };
    subscribe(channel, take);
    queueMicrotask(() => unsubscribe(channel, take));
  }

  #track(handle: WorkerHandle, untilEnded: () => Promise<string>): void {
    const ended = untilEnded().then((reason) => {
      this.#live.delete(handle);
      this.#options.onEnd(reason, handle);
    });
    this.#live.set(handle, ended);
    handle.on("message", (message: unknown) => {
      if (isCallEvent(message)) this.#options.onEvent(message, handle);
    });
  }

  #trackThread(thread: Worker): Promise<string> {
    return new Promise((resolve) => {
      thread.once("exit", (code) => resolve(this.#ended(thread, `exit code ${code}`)));
    });
  }

  #trackProcess(child: ChildProcess): Promise<string> {
    return new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        // By then the worker's events have been heard: libuv reads the channel before it looks at signals.
        resolve(this.#ended(child, signal === null ? `exit code ${code}` : `signal ${signal}`));
      });
      // A process that could not be started has no exit.
      child.once("error", (error) => {
        if (child.pid === undefined) resolve(this.#ended(child, error.message));
      });
    });
  }

  // Noted synchronously: workerpool rejects the worker's call in the same turn.
  #ended(handle: WorkerHandle, reason: string): string {
    this.#ends.set(handle, reason);
    return reason;
  }
}
