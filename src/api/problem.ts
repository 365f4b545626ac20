import { STATUS_CODES } from "node:http";
import type { Context, Middleware } from "koa";
import { z } from "zod";
import { RequestError } from "../errors.js";
import type { Logger } from "../log.js";

/** The body of an error answer (RFC 9457) with a stable `code`. */
export const problemSchema = z
  .looseObject({
    type: z.literal("about:blank"),
    title: z.string().describe("the status in words"),
    status: z.int(),
    code: z.string().describe("what went wrong, by a name that stays"),
    detail: z.string().describe("what was wrong and what would be right, for a person").optional(),
  })
  .describe("RFC 9457; some codes have further members, such as `path` or `at`");

/** Seconds after which it makes sense to ask again. */
const retryAfterSeconds = 1;

/**
 * The one exit for errors: whatever a route throws leaves as `application/problem+json`. Only a `RequestError`, which was
 * made for clients, tells its message; the rest is logged and says no more than that the gateway failed.
 */
export function problems(log: Logger): Middleware {
  return async (context, next) => {
    try {
      await next();
      if (context.status === 404 && (context.body === undefined || context.body === null)) {
        throw new RequestError(404, "not-found", `nothing is at ${context.method} ${context.path}`);
      }
    } catch (error) {
      answer(context, requestErrorOf(error), error, log);
    }
  };
}

/**
 * @param allowed - the methods that the path has
 * @returns the error for all others; the `Allow` header that goes with it is set
 */
export function methodNotAllowed(context: Context, allowed: readonly string[]): RequestError {
  const list = allowed.join(", ");
  context.set("Allow", list);
  return new RequestError(405, "method-not-allowed", `${context.method} is not possible here; these are: ${list}`);
}

/**
 * Answers requests of other methods than a path has: OPTIONS with what it has, all others with a refusal.
 *
 * @throws RequestError 405 `method-not-allowed`
 */
export function answerOtherMethods(context: Context, allowed: readonly string[]): void {
  if (context.method !== "OPTIONS") throw methodNotAllowed(context, allowed);
  context.set("Allow", allowed.join(", "));
  context.status = 204;
}

function answer(context: Context, known: RequestError | undefined, error: unknown, log: Logger): void {
  if ((known?.status ?? 500) >= 500) {
    log.error({ err: error, method: context.method, path: context.path }, "request failed");
  }
  sendProblem(context, known);
}

/** @param known - what is wrong; undefined for what is nobody's business */
export function sendProblem(context: Context, known: RequestError | undefined): void {
  const status = known?.status ?? 500;
  const problem: z.output<typeof problemSchema> = {
    ...known?.extensions,
    type: "about:blank",
    title: STATUS_CODES[status] ?? "Error",
    status,
    code: known?.code ?? "internal",
    ...(known === undefined ? {} : { detail: known.message }),
  };
  context.status = status;
  context.body = JSON.stringify(problem);
  context.type = "application/problem+json";
  if (status === 503) context.set("Retry-After", String(retryAfterSeconds));
  if (status === 401) {
    context.set("WWW-Authenticate", known?.code === "bad-token" ? 'Bearer error="invalid_token"' : "Bearer");
  }
}

/** @returns the error that may be shown, or undefined where nothing may. */
function requestErrorOf(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error;
  if (!(error instanceof Error)) return undefined;
  const { status, expose } = error as Error & { status?: unknown; expose?: unknown };
  // Errors of Koa and its middleware say themselves whether a client may see them.
  const isShown = typeof status === "number" && status >= 400 && status < 500 && expose === true;
  return isShown ? new RequestError(status, "bad-request", error.message) : undefined;
}
