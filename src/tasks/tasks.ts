import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { ObjectId } from "mongodb";
import type { NamedTask, TaskSettings, User } from "../config/settings.js";
import type { Database } from "../database.js";
import { RequestError } from "../errors.js";
import type { Executors } from "../executors/pools.js";
import type { HttpClient } from "../http-client.js";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics.js";
import { createBackoff, sleep } from "../retry.js";
import { once, type Service } from "../service.js";
import type { Change, StreamEvent } from "../watcher/change.js";
import { definitionsOf, type TaskDefinition } from "./define.js";
import { creatorOf, hasEnded, type TaskDocument, tasksCollection } from "./document.js";
import { checkInput } from "./input.js";
import { createLeaseWatch, keyOf } from "./lease.js";
import { prepareTasks } from "./prepare.js";
import { type Outcome, type Run, type RunOptions, startRun } from "./run.js";
import { type ClaimedTask, createTaskStore } from "./store.js";

const defaultLeaseMilliseconds = 30_000;

export interface TasksOptions {
  definitions: readonly NamedTask[];
  settings: TaskSettings;
  database: Database;
  executors: Executors;
  http: HttpClient;
  log: Logger;
  metrics: Metrics;
  /** How long `start` tries to reach the database, in milliseconds. */
  startTimeoutMilliseconds?: number;
  /** How long `stop` may take. Three quarters of it are the running tasks' grace, the rest is for giving them back. */
  stopMilliseconds: number;
}

export interface Tasks extends Service {
  readonly definitions: ReadonlyMap<string, TaskDefinition>;
  /** This gateway's name in the documents of the tasks that it runs. */
  readonly instance: string;
  /**
   * Takes what the watcher saw, and returns at once; it never throws. A task is started by the change that its insert was; resets and all
   * other collections' changes may be handed over as well.
   */
  onEvent(event: StreamEvent): void;
  /**
   * Stores a task, which starts when a gateway has a place for it.
   *
   * @param gone - aborted when who asks has gone
   * @throws RequestError 404 `unknown-task`, also where the user may not start it; 400 `bad-input` with the `errors`
   *   of every field; 503 `task-queue-full` or `database-unavailable`
   */
  create(name: string, input: unknown, user: User | null, gone?: AbortSignal): Promise<TaskDocument>;
  /**
   * Ends a task, wherever it runs.
   *
   * @throws RequestError 404 `not-found`, also where the task is another user's; 409 `task-ended`
   */
  cancel(id: string, user: User | null): Promise<TaskDocument>;
}

/**
 * Runs tasks: documents of the `tasks` collection, shared with every other gateway of the database. Nothing is polled: a
 * change of the collection, a place that has become free, and the end of a lease are what there is to act on.
 */
export function createTasks(options: TasksOptions): Tasks {
  const { database, log, metrics, settings } = options;
  const definitions = definitionsOf(options.definitions);
  const names = [...definitions.keys()];
  const instance = `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`;
  const leaseMilliseconds = settings.leaseMilliseconds ?? defaultLeaseMilliseconds;
  const store = createTaskStore({
    db: database.db,
    gateway: instance,
    leaseMilliseconds,
    queue: settings.queue,
    images: () => database.support.images,
    log,
  });
  const leases = createLeaseWatch({ leaseMilliseconds, expired: (id) => void expire(id) });
  const backoff = createBackoff({ baseMilliseconds: 1_000, maxMilliseconds: 15_000, floorMilliseconds: 100 });
  const stopping = new AbortController();
  const abandoned = new AbortController();
  const runs = new Map<string, Run>();
  /** Tasks that ended while a claim was under way: perhaps the one that it brings. */
  const endedMeanwhile = new Set<string>();
  let isStarted = false;
  let isWanted = false;
  let claiming: Promise<void> | undefined;

  const runOptions: RunOptions = {
    store,
    executors: options.executors,
    http: options.http,
    db: database.db,
    log,
    timeoutMilliseconds: settings.timeoutSeconds * 1_000,
    leaseMilliseconds,
    settleMilliseconds: options.stopMilliseconds * 0.15,
    abandoned: abandoned.signal,
  };

  const mayClaim = (): boolean => isStarted && !stopping.signal.aborted && runs.size < settings.concurrency;

  /** Something may be queued, or a place has become free. */
  function wake(): void {
    isWanted = true;
    if (claiming !== undefined || !mayClaim()) return;
    claiming = claim().finally(() => {
      claiming = undefined;
      endedMeanwhile.clear();
      if (isWanted) wake();
    });
  }

  async function claim(): Promise<void> {
    while (isWanted && mayClaim()) {
      isWanted = false;
      try {
        const task = await store.claim(names);
        backoff.reset();
        if (task === undefined) continue;
        isWanted = true;
        if (stopping.signal.aborted) await store.release(task.fence);
        else launch(task);
      } catch (error) {
        log.error({ err: error }, "no task could be claimed");
        isWanted = true;
        await sleep(backoff.next(), stopping.signal);
      }
    }
  }

  function launch(task: ClaimedTask): void {
    const { _id: id, name } = task.document;
    const definition = definitions.get(name);
    const key = keyOf(id);
    if (definition === undefined || endedMeanwhile.has(key)) return;
    leases.forget(id);
    const run = startRun(task, definition, runOptions);
    runs.set(key, run);
    metrics.tasksRunning.set(runs.size);
    void run.done.then((outcome) => {
      runs.delete(key);
      metrics.tasksRunning.set(runs.size);
      if (outcome === "complete" || outcome === "failed") metrics.tasks.inc({ task: name, state: outcome });
      lookAfter(id, outcome);
      wake();
    });
  }

  /** A task that this gateway dropped is nobody's until its lease is over. */
  function lookAfter(id: unknown, outcome: Outcome): void {
    if (outcome === "lost" && !stopping.signal.aborted) leases.watch(id, undefined);
  }

  function onChange({ id, after }: Change): void {
    const task = after as TaskDocument | undefined;
    const run = runs.get(keyOf(id));
    if (task === undefined || hasEnded(task.state)) {
      leases.forget(id);
      // An ended task never runs again, so this is no earlier state of it.
      run?.interrupt(task?.state === "cancelled" ? "cancelled" : "lost");
      if (run === undefined && claiming !== undefined) endedMeanwhile.add(keyOf(id));
    } else if (task.state === "queued") {
      leases.forget(id);
      if (definitions.has(task.name)) wake();
    } else if (run === undefined && !stopping.signal.aborted) {
      leases.watch(id, task.lease_expires_at);
    }
  }

  async function expire(id: unknown): Promise<void> {
    if (stopping.signal.aborted || runs.has(keyOf(id))) return;
    try {
      const found = await store.expire(id);
      if (found === "queued") log.warn({ taskId: keyOf(id) }, "a task whose gateway was lost is queued again");
      else if (found === "failed") {
        log.error({ taskId: keyOf(id) }, "a task was given up: its gateways were lost");
        metrics.tasks.inc({ task: "unknown", state: "failed" });
      } else if (found !== undefined && !runs.has(keyOf(id)) && !stopping.signal.aborted) {
        leases.watch(id, found.lease_expires_at, leaseMilliseconds / 3);
      }
    } catch (error) {
      log.warn({ err: error, taskId: keyOf(id) }, "a task's lease could not be looked at");
      if (!stopping.signal.aborted) leases.watch(id, undefined);
    }
  }

  /** At the start, and after a reset of the stream, what happened before is not on it. */
  async function recover(): Promise<void> {
    const running = await store.running();
    if (stopping.signal.aborted) return;
    for (const task of running) {
      if (!runs.has(keyOf(task._id))) leases.watch(task._id, task.lease_expires_at);
    }
    wake();
  }

  async function recoverUntilDone(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        return await recover();
      } catch (error) {
        log.warn({ err: error }, "tasks could not be looked for after a reset");
        await sleep(1_000, stopping.signal);
      }
    }
  }

  return {
    name: "tasks",
    definitions,
    instance,
    async start(signal) {
      if (names.length === 0) return;
      await prepareTasks(store, {
        ...options,
        signal,
        stopping: stopping.signal,
        async recover() {
          isStarted = true;
          await recover();
        },
      });
    },
    stop: once(async () => {
      stopping.abort();
      leases.clear();
      const allDone = () => Promise.all([claiming, ...[...runs.values()].map((run) => run.done)]);
      const graceOver = new AbortController();
      const grace = sleep(options.stopMilliseconds * 0.75, graceOver.signal);
      await Promise.race([allDone(), grace]);
      graceOver.abort();
      for (const run of runs.values()) run.interrupt("stopping");
      const timer = setTimeout(() => abandoned.abort(), options.stopMilliseconds * 0.2);
      await allDone();
      clearTimeout(timer);
      abandoned.abort();
    }),
    onEvent(event) {
      if (!isStarted) return;
      if (event.kind === "reset") {
        if (event.collections?.includes(tasksCollection) ?? true) void recoverUntilDone();
      } else if (event.collection === tasksCollection) {
        try {
          onChange(event);
        } catch (error) {
          // Any program may write to the collection: one document that can't be decoded must not end the stream of all others.
          metrics.quarantined.inc({ interface: tasksCollection });
          log.error({ err: error, position: event.position }, "change of a task not decoded");
        }
      }
    },
    async create(name, input, user, gone) {
      const definition = definitions.get(name);
      if (definition === undefined || (await definition.allow(user)) !== true) {
        throw new RequestError(404, "unknown-task", `there is no task "${name}" that you may start`);
      }
      await checkInput(definition, input);
      const document: TaskDocument = {
        _id: new ObjectId(),
        name,
        ...(input !== undefined && { input }),
        state: "queued",
        progress: null,
        result: null,
        error: null,
        user: creatorOf(user),
        attempts: 0,
        gateway: null,
        lease_expires_at: null,
        created_at: new Date(),
        started_at: null,
        ended_at: null,
      };
      await store.insert(document, gone);
      return document;
    },
    async cancel(id, user) {
      const cancelled = await store.cancel(id, creatorOf(user));
      if (cancelled !== undefined) {
        metrics.tasks.inc({ task: definitions.has(cancelled.name) ? cancelled.name : "unknown", state: "cancelled" });
        // Where it runs here, there is no need to wait for the change.
        runs.get(keyOf(cancelled._id))?.interrupt("cancelled");
        return cancelled;
      }
      const ended = await store.find(id, creatorOf(user));
      if (ended === undefined) throw unknownTask(id);
      throw new RequestError(409, "task-ended", `the task is ${ended.state} already`);
    },
  };
}

function unknownTask(id: string): RequestError {
  return new RequestError(404, "not-found", `there is no task "${id}" of yours`);
}
