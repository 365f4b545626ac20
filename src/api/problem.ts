import { STATUS_CODES } from "node:http";
import type { Context, Middleware } from "koa";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";

/** The body of an error answer (RFC 9457) with a stable `code`. */
export interface Problem {
  type: "about:blank";
  title: string;
  status: number;
  code: string;
  detail?: string;
}

/**
 * The one exit for errors: whatever a route throws leaves as `application/problem+json`. Only a `RequestError`, which was
 * made for clients, tells its message; the rest is logged and says no more than that the gateway failed.
 */
export function problems(log: Logger): Middleware {
  return async (context, next) => {
    try {
      await next();
      if (context.status === 404 && context.body === undefined) {
        throw new RequestError(404, "not-found", `nothing is at ${context.method} ${context.path}`);
      }
    } catch (error) {
      answer(context, requestErrorOf(error), error, log);
    }
  };
}

function answer(context: Context, known: RequestError | undefined, error: unknown, log: Logger): void {
  const status = known?.status ?? 500;
  if (status >= 500) log.error({ err: error, method: context.method, path: context.path }, "request failed");
  const problem: Problem = {
    type: "about:blank",
    title: STATUS_CODES[status] ?? "Error",
    status,
    code: known?.code ?? "internal",
    ...(known === undefined ? {} : { detail: known.message }),
    ...known?.extensions,
  };
  context.status = status;
  context.body = JSON.stringify(problem);
  context.type = "application/problem+json";
  if (status === 503) context.set("Retry-After", "1");
}

/** @returns the error that may be shown, or undefined where nothing may. */
function requestErrorOf(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error;
  if (!(error instanceof Error)) return undefined;
  const { status, expose } = error as Error & { status?: unknown; expose?: unknown };
  // Errors of Koa and its middleware say themselves whether a client may see them.
  if (typeof status === "number" && expose === true) return new RequestError(status, "bad-request", error.message);
  return undefined;
}
