import type { Middleware } from "koa";
import type { Metrics } from "../metrics.js";

const commonMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"]);

/** Measures requests, by the pattern of their route: a raw path would make a series of each id that anyone asks for. */
export function timing(metrics: Metrics): Middleware {
  return async (context, next) => {
    const end = metrics.apiSeconds.startTimer();
    context.res.once("close", () => {
      const { _matchedRoute: route } = context as { _matchedRoute?: unknown };
      end({
        route: typeof route === "string" ? route : "none",
        method: commonMethods.has(context.method) ? context.method : "other",
        status: context.res.statusCode,
      });
    });
    await next();
  };
}
