import { createExecutors, type Executors, type ExecutorsOptions } from "../../src/executors/pools.js";
import { sleep } from "../../src/retry.js";

export const kinds = ["threads", "processes"] as const;

/** Executors of one spec, which `afterEach(stopAll)` stops. */
export async function started(options: ExecutorsOptions = {}): Promise<Executors> {
  const executors = await shared(options);
  opened.push(executors);
  return executors;
}

/** Executors that several specs share; who asks stops them. */
export async function shared(options: ExecutorsOptions = {}): Promise<Executors> {
  const executors = createExecutors(options);
  await executors.start(new AbortController().signal);
  return executors;
}

export async function stopAll(): Promise<void> {
  await Promise.all(opened.splice(0).map((executors) => executors.stop()));
}

const opened: Executors[] = [];

export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: unknown }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("the promise was expected to be rejected");
}

/** For conditions that nothing announces, such as the end of a process that is not a child. */
export async function eventually(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 15_000; !condition(); await sleep(5)) {
    if (performance.now() > end) throw new Error(`never came true: ${condition}`);
  }
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    // ESRCH: there is no such process.
    return false;
  }
}

/** Says that it runs, then blocks its worker for ever. */
export const loopForEver = (context: { progress(value: number): void }): void => {
  context.progress(process.pid);
  for (;;);
};

/** Runs `loopForEver` and waits until a worker is in it. */
export async function looping(
  executor: Executors["threads"],
  options: { signal?: AbortSignal; timeoutMilliseconds?: number } = {},
): Promise<{ pid: number; call: Promise<void> }> {
  let call: Promise<void> | undefined;
  const pid = await new Promise<number>((resolve, reject) => {
    call = executor.run(loopForEver, [], { ...options, onProgress: resolve });
    call.catch(reject);
  });
  if (call === undefined) throw new Error("unreachable");
  return { pid, call };
}
