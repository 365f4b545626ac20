import type { Logger } from "./log.js";
import { sleep } from "./retry.js";

/** One part of the gateway, with a beginning and an end. */
export interface Service {
  readonly name: string;
  /**
   * @param signal - aborted when start-up is to be given up
   * @throws whatever keeps the service from working; the services started before it are then stopped
   */
  start(signal: AbortSignal): Promise<void>;
  /** Ends the service; a second call returns the first one's promise. */
  stop(): Promise<void>;
}

/**
 * Starts services one after another. When one fails, those that had started are stopped in reverse and the error is
 * thrown on.
 *
 * @param services - in the order in which they need each other
 * @param options.deadlineMilliseconds - for the whole stop that follows a failed start
 */
export async function startServices(
  services: readonly Service[],
  options: { log: Logger; signal: AbortSignal; deadlineMilliseconds: number },
): Promise<void> {
  const started: Service[] = [];
  for (const service of services) {
    try {
      options.signal.throwIfAborted();
      started.push(service);
      await service.start(options.signal);
      options.log.debug({ service: service.name }, "service started");
    } catch (error) {
      await stopServices(started, options);
      throw error;
    }
  }
}

/**
 * Stops services in reverse order under one deadline. A service that fails to stop or takes too long is logged and
 * passed over, so that those below it get their turn.
 *
 * @returns the names of the services that did not stop cleanly
 */
export async function stopServices(
  services: readonly Service[],
  options: { log: Logger; deadlineMilliseconds: number },
): Promise<string[]> {
  const deadline = performance.now() + options.deadlineMilliseconds;
  const failed: string[] = [];
  for (const service of [...services].reverse()) {
    const timer = new AbortController();
    try {
      // Even with no time left every service is told to stop: each begins its work synchronously.
      const left = Math.max(50, deadline - performance.now());
      const ended = await Promise.race([
        service.stop().then(() => true),
        sleep(left, timer.signal).then((elapsed) => !elapsed),
      ]);
      if (!ended) {
        failed.push(service.name);
        options.log.error({ service: service.name }, "service did not stop in time");
      }
    } catch (error) {
      failed.push(service.name);
      options.log.error({ service: service.name, err: error }, "service failed to stop");
    } finally {
      timer.abort();
    }
  }
  return failed;
}

/**
 * @param stop - the work of stopping, run at most once
 * @returns a function that always returns the promise of that one run
 */
export function once(stop: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= stop();
    return running;
  };
}
