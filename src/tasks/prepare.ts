import { DatabaseUnreachableError } from "../errors.js";
import type { Logger } from "../log.js";
import { untilDone } from "../retry.js";
import { recoveryFrom } from "../watcher/failure.js";
import type { TaskStore } from "./store.js";

/**
 * Makes the collection what tasks need, and then looks for those that run. A connection that breaks at this moment is no
 * reason not to start. The index is not waited for: with many tasks it takes its time, and they run without it meanwhile.
 *
 * @param options.recover - looks for the tasks that run
 * @param options.startTimeoutMilliseconds - how long all but the index may take
 * @param options.signal - gives start-up up
 * @param options.stopping - gives the index up
 * @throws DatabaseUnreachableError, or what the server says
 */
export async function prepareTasks(
  store: Pick<TaskStore, "keepImages" | "makeIndex">,
  options: {
    recover(): Promise<void>;
    log: Logger;
    startTimeoutMilliseconds?: number;
    signal: AbortSignal;
    stopping: AbortSignal;
  },
): Promise<void> {
  const { log, signal, stopping } = options;
  const persistently = (work: () => Promise<void>, until: AbortSignal): Promise<void> =>
    untilDone(work, {
      signal: until,
      mayPass: (error) => recoveryFrom(error) === "resume",
      failed: (error) => log.warn({ err: error }, "tasks not prepared yet"),
    });
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(options.startTimeoutMilliseconds ?? 30_000)]);
  try {
    await persistently(store.keepImages, timeout);
    await persistently(options.recover, timeout);
  } catch (error) {
    if (signal.aborted || !timeout.aborted) throw error;
    throw new DatabaseUnreachableError("the tasks could not be prepared in time", { cause: error });
  }
  persistently(store.makeIndex, stopping).catch((error: unknown) => {
    if (!stopping.aborted) log.error({ err: error }, "the tasks' index was not made");
  });
}
