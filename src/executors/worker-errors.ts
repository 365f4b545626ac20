import { TailgateError } from "../errors.js";

export type ExecutorKind = "thread" | "process";

/** The call ran longer than it may. Its worker was ended and will be replaced. */
export class ExecutorTimeoutError extends TailgateError {
  /** Milliseconds that the call was allowed to run, not counting its wait for a worker. */
  readonly timeoutMilliseconds: number;

  constructor(kind: ExecutorKind, timeoutMilliseconds: number) {
    super("executor-timeout", `the call ran in a ${kind} for more than ${timeoutMilliseconds} ms and was ended`);
    this.timeoutMilliseconds = timeoutMilliseconds;
  }
}

/** All workers are busy and as many calls wait as may wait. The call was not started. */
export class ExecutorQueueFullError extends TailgateError {
  /** How many calls may wait. */
  readonly queue: number;

  constructor(kind: ExecutorKind, queue: number) {
    super("executor-queue-full", `all ${kind} workers are busy and ${queue} calls wait already, which is the cap`);
    this.queue = queue;
  }
}

/** The worker ended while it ran the call: it exited, ran out of memory, was killed, or an error escaped the call. */
export class WorkerCrashedError extends TailgateError {
  /** What is known of the end, such as `exit code 3` or `signal SIGKILL`. */
  readonly reason: string;

  constructor(kind: ExecutorKind, reason: string, options?: ErrorOptions) {
    super("worker-crashed", `the ${kind} that ran the call ended: ${reason}`, options);
    this.reason = reason;
  }
}

/** The executors were stopped, or not started yet. */
export class ExecutorStoppedError extends TailgateError {
  constructor(message: string) {
    super("executor-stopped", message);
  }
}

/** An argument or a result holds something that can't leave its thread or process, such as a function. */
export class NotSerialisableError extends TailgateError {
  constructor(what: "arguments" | "result", cause: unknown) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    super("not-serialisable", `the ${what} of the call can't be sent to or from a worker: ${detail}`, { cause });
  }
}

/** The function threw something that is not an error; `cause` is that value where it could be sent, else its text. */
export class ThrownValueError extends TailgateError {
  constructor(text: string, cause: unknown) {
    super("thrown-value", `the function threw a value that is not an error: ${text}`, { cause });
  }
}

/** An error on its way out of a worker. */
export interface ErrorDescription {
  readonly name: string;
  readonly message: string;
  readonly stack?: string | undefined;
  readonly cause?: ErrorDescription | undefined;
  /** Own properties with plain values: `code`, `errno`, `path`, `status` and the like. */
  readonly properties: ReadonlyArray<readonly [string, string | number | boolean | bigint]>;
}

const maxCauses = 5;

/**
 * Takes an error apart into what every worker can send. Class and anything but plain properties stay behind.
 *
 * @param error - what was thrown; never throws itself, whatever it is given
 */
export function describeError(error: unknown, depth = 0): ErrorDescription {
  try {
    if (!(error instanceof Error)) return describeError(new ThrownValueError(textOf(error), plainOrText(error)), depth);
    const properties: [string, string | number | boolean | bigint][] = [];
    for (const [key, value] of Object.entries(error)) {
      if (key !== "name" && key !== "stack" && key !== "message" && isPlain(value)) properties.push([key, value]);
    }
    // The code of a DOMException and of some other errors is a getter of the class.
    const { code } = error as { code?: unknown };
    if (isPlain(code) && !properties.some(([key]) => key === "code")) properties.push(["code", code]);
    const { cause } = error;
    return {
      name: String(error.name),
      message: String(error.message),
      stack: typeof error.stack === "string" ? error.stack : undefined,
      cause: cause === undefined || depth >= maxCauses ? undefined : describeCause(cause, depth),
      properties,
    };
  } catch (failure) {
    // A getter of the error threw: what went wrong there is all that can be told.
    return { name: "Error", message: `an error that can't be read: ${textOf(failure)}`, properties: [] };
  }
}

/** The error in this thread or process, with the stack it had in the worker. */
export function rebuildError(description: ErrorDescription): Error {
  const cause = description.cause === undefined ? undefined : rebuildCause(description.cause);
  const options = cause === undefined ? undefined : { cause };
  const Native = natives.get(description.name) ?? Error;
  const error = new Native(description.message, options);
  const hidden = { configurable: true, writable: true, enumerable: false };
  if (error.name !== description.name) Object.defineProperty(error, "name", { ...hidden, value: description.name });
  if (description.stack !== undefined) Object.defineProperty(error, "stack", { ...hidden, value: description.stack });
  for (const [key, value] of description.properties) {
    Object.defineProperty(error, key, { ...hidden, enumerable: true, value });
  }
  return error;
}

const natives = new Map<string, new (message: string, options?: ErrorOptions) => Error>(
  [TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError].map((native) => [native.name, native]),
);

// A cause may be any value. One that is no error travels as a description whose name says so.
const valueName = "\0value";

function describeCause(cause: unknown, depth: number): ErrorDescription {
  if (cause instanceof Error) return describeError(cause, depth + 1);
  return { name: valueName, message: "", properties: [["value", plainOrText(cause)]] };
}

function rebuildCause(description: ErrorDescription): unknown {
  return description.name === valueName ? description.properties[0]?.[1] : rebuildError(description);
}

function isPlain(value: unknown): value is string | number | boolean | bigint {
  return ["string", "number", "boolean", "bigint"].includes(typeof value);
}

function plainOrText(value: unknown): string | number | boolean | bigint {
  return isPlain(value) ? value : textOf(value);
}

function textOf(value: unknown): string {
  try {
    if (value instanceof Error) return value.message;
    return typeof value === "object" && value !== null ? (JSON.stringify(value) ?? String(value)) : String(value);
  } catch {
    // A cycle, or a toJSON or toString that throws: the type is what is left.
    return typeof value;
  }
}
