import type { Db } from "mongodb";
import type { z } from "zod";
import type { NamedTask, User } from "../config/settings.js";
import { ConfigurationError } from "../errors.js";
import { BadFunctionError, type Runnable } from "../executors/exported.js";
import type { Executors } from "../executors/pools.js";
import { referenceTo } from "../executors/worker-protocol.js";
import type { HttpClient } from "../http-client.js";
import type { Logger } from "../log.js";

/** How far a task is: a number from 0 to 1, or a small object such as `{ done: 3, of: 8 }`. */
export type TaskProgress = number | Readonly<Record<string, unknown>>;

/** What a task's function gets after its input, wherever it runs. */
export interface TaskContext {
  /**
   * Shows how far the task is. May be called as often as is convenient: the document is written at most five times a
   * second, and the last value is always written, with the end at the latest.
   */
  progress(value: TaskProgress): void;
}

/** What a task's function gets where it runs in the gateway's own thread. */
export interface MainTaskContext extends TaskContext {
  /** Aborted when the task is cancelled, has run for too long, or the gateway's grace at its stop is over. */
  readonly signal: AbortSignal;
  /** The one client for outgoing HTTP requests; pass `signal` along with a request. */
  readonly http: HttpClient;
  readonly db: Db;
  readonly log: Logger;
  /** As the gateway's own, and ended together with the task. */
  readonly runInThread: Executors["runInThread"];
  /** As the gateway's own, and ended together with the task. */
  readonly runInProcess: Executors["runInProcess"];
}

export type TaskPlace = "main" | "thread" | "process";

interface CommonOptions<Schema extends z.ZodType> {
  /** What clients ask for: begins with a letter, then letters, digits, `_`, `-` and `.`, 128 at most. */
  readonly name: string;
  /** What the input has to be; `run` gets what the schema makes of it. */
  readonly input: Schema;
  /** Who may start it; an anonymous client is null. Default: no one. */
  allow?(user: User | null): boolean | Promise<boolean>;
}

export interface MainTaskOptions<Schema extends z.ZodType> extends CommonOptions<Schema> {
  /** In the gateway's own thread: for what only waits, such as requests to other servers. */
  readonly where: "main";
  run(input: z.output<Schema>, context: MainTaskContext): unknown;
}

export interface WorkerTaskOptions<Schema extends z.ZodType> extends CommonOptions<Schema> {
  /** In a thread: for what blocks on input and output. In a process: for what computes. */
  readonly where: "thread" | "process";
  /** A function that refers to nothing outside itself, or what `exported` returns. */
  readonly run: Runnable<[input: z.output<Schema>, context: TaskContext], unknown>;
}

const brand = Symbol.for("tailgate.task");

/** A task as the gateway holds it. The types of its input have done their work where it was defined. */
export interface TaskDefinition extends NamedTask {
  readonly [brand]: true;
  readonly input: z.ZodType;
  allow(user: User | null): boolean | Promise<boolean>;
  readonly code:
    | { readonly where: "main"; run(input: unknown, context: MainTaskContext): unknown }
    | {
        readonly where: "thread" | "process";
        readonly run: Runnable<[input: unknown, context: TaskContext], unknown>;
      };
}

/**
 * Describes a task that clients may start by `POST /api/tasks`. It does nothing until the definition is given to
 * `createGateway({ tasks: [definition] })`.
 *
 * The result of `run` is stored in the task's document: anything that BSON can hold, up to 1 MB.
 *
 * @throws ConfigurationError for a name, a place or a schema that can't be used
 * @throws BadFunctionError for a function that is to run in a worker and has no text that compiles there
 */
export function defineTask<Schema extends z.ZodType>(
  options: MainTaskOptions<Schema> | WorkerTaskOptions<Schema>,
): TaskDefinition {
  const { name, input, where, run } = options;
  const refuse = (what: string): never => {
    throw new ConfigurationError(`defineTask(${JSON.stringify(name)}): ${what}`);
  };
  if (typeof name !== "string" || !/^[A-Za-z][\w.-]{0,127}$/.test(name)) {
    refuse("a name begins with a letter and holds only letters, digits, _, - and ., 128 at most");
  }
  if (typeof input?.safeParseAsync !== "function") refuse("`input` has to be a zod schema");
  if (where !== "main" && where !== "thread" && where !== "process") {
    refuse('`where` has to be "main", "thread" or "process"');
  }
  if (where === "main" ? typeof run !== "function" : typeof run !== "function" && typeof run?.module !== "string") {
    refuse(
      where === "main"
        ? "`run` has to be a function"
        : "`run` has to be a function or what exported(import.meta.resolve(…), name) returns",
    );
  }
  return {
    [brand]: true,
    name,
    input,
    allow: (user) => options.allow?.(user) ?? false,
    code: { where, run: where === "main" ? run : standingAlone(run) } as TaskDefinition["code"],
  };
}

/**
 * A function travels to a worker as its text. That of a method, `run(input) { … }`, means nothing outside an object, so it
 * is given one. What can't be compiled is found out here rather than by the first task.
 */
function standingAlone(run: unknown): unknown {
  if (typeof run !== "function") return run;
  const fn = run as (...args: never[]) => unknown;
  const reference = referenceTo(fn);
  const text = "text" in reference ? reference.text : "";
  if (compiles(`(${text}\n)`)) return fn;
  const wrapped = `(...args) => ({ ${text} })[${JSON.stringify(fn.name)}](...args)`;
  if (compiles(`(${wrapped})`)) return new Function(`return ${wrapped}`)();
  throw new BadFunctionError(
    `the text of ${fn.name || "the function"} does not compile on its own: write an arrow function`,
  );
}

function compiles(expression: string): boolean {
  try {
    // Only parsed: nothing of it is run here.
    new Function(`"use strict"; return ${expression};`);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}

/**
 * @param tasks - as the configuration has them
 * @returns the definitions, by name
 * @throws ConfigurationError for what `defineTask` did not make
 */
export function definitionsOf(tasks: readonly NamedTask[]): ReadonlyMap<string, TaskDefinition> {
  return new Map(
    tasks.map((task) => {
      if (!(brand in task)) throw new ConfigurationError(`tasks: "${task.name}" has to be made by defineTask()`);
      return [task.name, task as TaskDefinition];
    }),
  );
}
