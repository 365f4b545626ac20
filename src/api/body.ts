import { bodyParser } from "@koa/bodyparser";
import type { Context, Middleware } from "koa";
import { RequestError } from "../errors.js";

/** Objects and arrays within one another in a body; a filter has its own, lower limit. */
const maxDepth = 64;

/**
 * Middleware for routes that take a JSON body. A compressed body is counted as it unfolds.
 *
 * @param limitBytes - of the body
 * @param moreTypes - media types of JSON that are taken beside `application/json`
 * @throws RequestError 413 `body-too-large`, 415 `unsupported-media-type`, 400 `bad-json`
 */
export function jsonBody(limitBytes: number, moreTypes: readonly string[] = []): Middleware {
  const types = ["application/json", ...moreTypes];
  const parse = bodyParser({
    enableTypes: ["json"],
    // The parser puts its own list under this one, place by place: a list without the first type would take that away.
    extendTypes: { json: types },
    jsonLimit: limitBytes,
    encoding: "utf-8",
    onError: (error) => {
      throw requestErrorOf(error, limitBytes);
    },
  });
  return async (context, next) => {
    if (!context.is(types)) {
      const detail = `the body has to be sent as Content-Type: ${types.join(" or ")}`;
      throw new RequestError(415, "unsupported-media-type", detail);
    }
    // JSON is UTF-8 (RFC 8259, 8.1), whatever is said of it: read as such, what is not would be other text.
    if (!charsets.has(context.request.charset.toLowerCase())) {
      throw new RequestError(415, "unsupported-media-type", "the body has to be sent in UTF-8");
    }
    await parse(context, async () => {
      if (Array.isArray(bodyOf(context))) throw new RequestError(400, "bad-json", notAnObject);
      checkDepth(bodyOf(context));
      await next();
    });
  };
}

const charsets: ReadonlySet<string> = new Set(["", "utf-8", "utf8", "us-ascii"]);
const notAnObject = "the body has to be a JSON object";

const methodsWithBody: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

/**
 * Middleware that refuses a body over the limit before anything is done, of whatever method. One whose length is not told
 * beforehand is counted where it is parsed, or here, where the method has nothing to parse.
 *
 * @throws RequestError 413 `body-too-large`
 */
export function limitBody(limitBytes: number): Middleware {
  return async (context, next) => {
    if ((context.request.length ?? 0) > limitBytes) throw bodyTooLarge(limitBytes);
    if (context.get("Transfer-Encoding") !== "" && !methodsWithBody.has(context.method)) {
      let bytes = 0;
      // Destroyed with the iterator, the connection could not carry the answer.
      for await (const chunk of context.req.iterator({ destroyOnReturn: false })) {
        bytes += (chunk as Buffer).length;
        if (bytes > limitBytes) throw bodyTooLarge(limitBytes);
      }
    }
    await next();
  };
}

function bodyTooLarge(limitBytes: number): RequestError {
  return new RequestError(413, "body-too-large", `the body is over ${limitBytes} bytes`, { limitBytes });
}

/** @returns the parsed body of a route behind {@link jsonBody} */
export function bodyOf(context: Context): unknown {
  return (context.request as { body?: unknown }).body;
}

/** @throws RequestError 400 `bad-json` where nothing was sent, which the parser takes for an empty object */
export function requiredBodyOf(context: Context): unknown {
  const { body, rawBody } = context.request as { body?: unknown; rawBody?: string };
  if (!rawBody) throw new RequestError(400, "bad-json", notAnObject);
  return body;
}

function requestErrorOf(error: Error, limitBytes: number): RequestError {
  const { status } = error as Error & { status?: number };
  if (status === 413) return bodyTooLarge(limitBytes);
  if (status === 415) {
    return new RequestError(415, "unsupported-media-type", "the body's Content-Encoding or charset is not known");
  }
  return new RequestError(400, "bad-json", notAnObject, {}, { cause: error });
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
