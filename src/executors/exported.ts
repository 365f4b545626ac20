import { TailgateError } from "../errors.js";

/** Names a function that a module exports, so that a worker can import the module and call it there. */
export interface Exported<A extends unknown[] = unknown[], R = unknown> {
  readonly module: string;
  readonly name: string;
  /** Never set: carries the types of the function from `exported` to `runInThread` and `runInProcess`. */
  readonly signature?: (...args: A) => R | Promise<R>;
}

/** What an executor can run: a function that refers to nothing outside itself, or the export of a module. */
export type Runnable<A extends unknown[], R> = ((...args: A) => R | Promise<R>) | Exported<A, R>;

/** The last argument of a function that was called with `onProgress`. */
export interface WorkerContext<P = unknown> {
  /**
   * Hands a value to the caller's `onProgress`, at once, even while the function blocks its worker. That holds for 1,000
   * values and 500 more a second. Beyond, the newest arrive, and the last in any case.
   *
   * @throws an Error where the value can't be sent
   */
  progress(value: P): void;
}

/**
 * Refers to a function by its module, for functions that import things or share code with others. The worker imports
 * the module once and keeps it, with its state, for later calls.
 *
 * @param module - the module's URL: `import.meta.resolve("./statistics.js")`. Under tsx a
 *   `.js` that does not exist stands for the `.ts` beside it, as in an import statement.
 * @param name - the export's name, `default` for the default export
 * @typeParam F - `typeof generateStatistics`, where arguments and result are to be checked by the compiler
 * @throws BadFunctionError when `module` is not an absolute URL, so that no worker can resolve it
 */
export function exported<F extends (...args: never[]) => unknown = (...args: unknown[]) => unknown>(
  module: string,
  name: string,
): Exported<Parameters<F>, Awaited<ReturnType<F>>> {
  if (!URL.canParse(module)) {
    throw new BadFunctionError(
      `exported() needs a module's URL, got ${JSON.stringify(module)}: write exported(import.meta.resolve("./module.js"), "name")`,
    );
  }
  return { module, name };
}

/** The function can't be run in a worker: it is native or bound, does not compile on its own, or is not exported. */
export class BadFunctionError extends TailgateError {
  constructor(message: string, options?: ErrorOptions) {
    super("bad-function", message, options);
  }
}
