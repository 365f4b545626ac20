import { bodyParser } from "@koa/bodyparser";
import type { Context, Middleware } from "koa";
import { RequestError } from "../errors.js";

/** Objects and arrays within one another in a body; a filter has its own, lower limit. */
const maxDepth = 64;

/**
 * Middleware for routes that take a JSON body. A compressed body is counted as it unfolds.
 *
 * @param limitBytes - of the body
 * @throws RequestError 413 `body-too-large`, 415 `unsupported-media-type`, 400 `bad-json`
 */
export function jsonBody(limitBytes: number): Middleware {
  const parse = bodyParser({
    enableTypes: ["json"],
    jsonLimit: limitBytes,
    encoding: "utf-8",
    onError: (error) => {
      throw requestErrorOf(error, limitBytes);
    },
  });
  return async (context, next) => {
    if (!context.is("application/json")) {
      throw new RequestError(
        415,
        "unsupported-media-type",
        "the body has to be sent as Content-Type: application/json",
      );
    }
    await parse(context, async () => {
      checkDepth(bodyOf(context));
      await next();
    });
  };
}

/** @returns the parsed body of a route behind {@link jsonBody} */
export function bodyOf(context: Context): unknown {
  return (context.request as { body?: unknown }).body;
}

function requestErrorOf(error: Error, limitBytes: number): RequestError {
  const { status } = error as Error & { status?: number };
  if (status === 413) {
    return new RequestError(413, "body-too-large", `the body is over ${limitBytes} bytes`, { limitBytes });
  }
  if (status === 415) {
    return new RequestError(415, "unsupported-media-type", "the body's Content-Encoding or charset is not known");
  }
  return new RequestError(400, "bad-json", "the body is not a JSON object", {}, { cause: error });
}

function checkDepth(body: unknown): void {
  const open: { value: unknown; depth: number }[] = [{ value: body, depth: 1 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (typeof next.value !== "object" || next.value === null) continue;
    if (next.depth > maxDepth) {
      throw new RequestError(400, "bad-json", `the body has more than ${maxDepth} levels of objects and arrays`);
    }
    for (const value of Object.values(next.value)) open.push({ value, depth: next.depth + 1 });
  }
}
