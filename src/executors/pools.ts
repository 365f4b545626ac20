import { once, type Service } from "../service.js";
import type { Runnable } from "./exported.js";
import { CallRunner, type Executor, type ExecutorsOptions } from "./worker-calls.js";

export type { Executor, ExecutorsOptions, PoolOptions, RunOptions } from "./worker-calls.js";

export interface Executors extends Service {
  readonly threads: Executor;
  readonly processes: Executor;
  /** Runs a function that blocks on I/O in a thread: `threads.run` without options. */
  runInThread<A extends unknown[], R>(fn: Runnable<A, R>, ...args: A): Promise<Awaited<R>>;
  /** Runs a compute-heavy function in a process: `processes.run` without options. */
  runInProcess<A extends unknown[], R>(fn: Runnable<A, R>, ...args: A): Promise<Awaited<R>>;
}

/**
 * Two pools of workers beside the event loop. Starting them starts no worker: the first call of each kind does.
 *
 * @throws RangeError for a size that is not a whole number in its range
 */
export function createExecutors(options: ExecutorsOptions = {}): Executors {
  const threads = new CallRunner("thread", options, options.threads ?? {});
  const processes = new CallRunner("process", options, options.processes ?? {});
  return {
    name: "executors",
    threads,
    processes,
    runInThread: (fn, ...args) => threads.run(fn, args),
    runInProcess: (fn, ...args) => processes.run(fn, args),
    async start(signal) {
      signal.throwIfAborted();
      threads.start();
      processes.start();
    },
    stop: once(async () => {
      await Promise.all([threads.stop(), processes.stop()]);
    }),
  };
}
