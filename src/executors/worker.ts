// The script that every worker runs, as a thread or as a process.
import { parentPort } from "node:worker_threads";
import workerpool from "workerpool";
import { BadFunctionError, type WorkerContext } from "./exported.js";
import { describeError } from "./worker-errors.js";
import { createProgressSender } from "./worker-progress.js";
import {
  type CallEvent,
  type CallOutcome,
  type CallRequest,
  decode,
  encode,
  type FunctionReference,
  performMethod,
} from "./worker-protocol.js";

type AnyFunction = (...args: unknown[]) => unknown;

let current: number | undefined;
const compiled = new Map<string, AnyFunction>();
const maxCompiled = 100;

async function perform(request: CallRequest): Promise<CallOutcome | InstanceType<typeof workerpool.Transfer>> {
  const { call } = request;
  current = call;
  emit({ call, event: "started" });
  const sender = createProgressSender((value) => emit({ call, event: "progress", value }));
  try {
    const args = decode(request.args) as unknown[];
    const fn = await load(request.function);
    const context: WorkerContext = { progress: (value) => sender.report(value) };
    const bytes = encode("result", await fn(...args, ...(request.progress ? [context] : [])));
    return parentPort === null ? { result: bytes } : new workerpool.Transfer({ result: bytes }, [bytes.buffer]);
  } catch (error) {
    return { error: describeError(error) };
  } finally {
    // The last value goes before the outcome. What a function leaves behind has no one to report to.
    sender.end();
    current = undefined;
  }
}

async function load(reference: FunctionReference): Promise<AnyFunction> {
  if ("text" in reference) return compile(reference.text);
  const module = (await import(reference.module)) as Record<string, unknown>;
  const fn = module[reference.name];
  if (typeof fn === "function") return fn as AnyFunction;
  const names = Object.keys(module).filter((name) => typeof module[name] === "function");
  throw new BadFunctionError(
    `${reference.module} exports no function ${reference.name}; it exports ${names.join(", ") || "none"}`,
  );
}

function compile(text: string): AnyFunction {
  let fn = compiled.get(text);
  if (fn !== undefined) return fn;
  try {
    fn = new Function(`"use strict"; return (${text}\n);`)() as AnyFunction;
  } catch (error) {
    throw new BadFunctionError(
      `the text of the function does not compile on its own (a method? write an arrow function): ${String(error)}`,
      { cause: error },
    );
  }
  if (compiled.size >= maxCompiled) compiled.clear();
  compiled.set(text, fn);
  return fn;
}

function emit(event: CallEvent): void {
  if (parentPort === null) process.send?.(event);
  else parentPort.postMessage(event);
}

// esbuild, and so tsx, wraps inner functions in calls of a helper that the text of a function alone does not bring.
Object.defineProperty(globalThis, "__name", {
  value: (target: object, value: string) => Object.defineProperty(target, "name", { value, configurable: true }),
});

// An error that escapes the call leaves the worker in an unknown state: it tells the executor why and is ended by it.
process.on("uncaughtException", (error) => {
  if (current === undefined) process.exit(1);
  emit({ call: current, event: "crashed", error: describeError(error) });
  setTimeout(() => process.exit(1), 1000);
});

if (parentPort === null) {
  // Ctrl-C and service managers signal the whole group. When workers end is the gateway's decision: calls get their grace.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
}

workerpool.worker({ [performMethod]: perform });
