import { deserialize, serialize } from "node:v8";
import { BadFunctionError, type Exported } from "./exported.js";
import { type ErrorDescription, NotSerialisableError } from "./worker-errors.js";

/** The one method of the worker script. */
export const performMethod = "perform";

/** A function as it travels: as text, or by the name of its module and export. */
export type FunctionReference = { readonly text: string } | { readonly module: string; readonly name: string };

/** From the executor to a worker. */
export interface CallRequest {
  readonly call: number;
  readonly function: FunctionReference;
  /** The arguments in V8's format: see `encode`. */
  readonly args: Uint8Array;
  /** Whether the function gets a context to report progress with. */
  readonly progress: boolean;
}

/**
 * From a worker while it runs a call. Each names its call: what a function leaves behind may speak up later. Events are
 * messages of their own beside workerpool's: those reach nobody once their request is answered, and name no worker.
 */
export type CallEvent =
  | { readonly call: number; readonly event: "started" }
  | { readonly call: number; readonly event: "progress"; readonly value: unknown }
  | { readonly call: number; readonly event: "crashed"; readonly error: ErrorDescription };

export function isCallEvent(message: unknown): message is CallEvent {
  return typeof message === "object" && message !== null && "event" in message && "call" in message;
}

/** From a worker at the end of a call. */
export type CallOutcome = { readonly result: Uint8Array } | { readonly error: ErrorDescription };

/**
 * Arguments and results travel as bytes in V8's own format, for three reasons. Both kinds of workers then carry exactly
 * the same values (a Buffer stays a Buffer, where a thread's structured clone makes it a Uint8Array). What can't be sent
 * fails here, in the caller's hands: inside workerpool a failing send leaves its worker occupied for ever, or throws
 * out of an event handler. And a call that waits holds what it was given, not what that became meanwhile.
 *
 * @throws NotSerialisableError
 */
export function encode(what: "arguments" | "result", value: unknown): Buffer {
  try {
    return serialize(value);
  } catch (error) {
    throw new NotSerialisableError(what, error);
  }
}

export function decode(bytes: Uint8Array): unknown {
  return deserialize(bytes);
}

/** @throws BadFunctionError for a function without text of its own */
export function referenceTo(fn: ((...args: never[]) => unknown) | Exported<never[], unknown>): FunctionReference {
  if (typeof fn !== "function") return { module: fn.module, name: fn.name };
  const text = Function.prototype.toString.call(fn);
  if (/\{\s*\[native code\]\s*\}\s*$/.test(text)) {
    throw new BadFunctionError(
      `${fn.name || "the function"} is native or bound, so it has no text to send to a worker`,
    );
  }
  return { text };
}
