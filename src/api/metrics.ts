import type { Context } from "koa";
import type { Authenticate } from "../auth/authenticate.js";
import { isLoopback } from "../config/loopback.js";
import { RequestError } from "../errors.js";
import type { Metrics } from "../metrics.js";
import { type ApiPart, operation, problemAnswer } from "./openapi.js";
import { sessionRequestOf } from "./user.js";

export interface MetricsOptions {
  readonly metrics: Metrics;
  /** Whether everyone who reaches the port may read them. */
  readonly isPublic: boolean;
  readonly authenticate: Authenticate;
  /** The header, in lower case, in which the public port tells the client's address. */
  readonly peerHeader: string;
}

/**
 * `/metrics`: for this machine and for users with a good token, unless it is public. The figures name interfaces and tasks
 * and tell how busy they are, which is nothing for whoever finds the port.
 */
export function metricsPart(options: MetricsOptions): ApiPart {
  const { registry } = options.metrics;
  return {
    paths: {
      "/metrics": {
        get: operation("Figures of the gateway", {
          200: { description: "in Prometheus' text format", content: { "text/plain": { schema: { type: "string" } } } },
          401: problemAnswer("asked from another machine, without a token"),
        }),
      },
    },
    add(router) {
      router.get("/metrics", async (context) => {
        context.set("Cache-Control", "no-store");
        await admit(context, options);
        context.body = await registry.metrics();
        context.set("Content-Type", registry.contentType);
      });
    },
  };
}

/** @throws RequestError 401 `metrics-not-public`, and `bad-token` for a token that is not good */
async function admit(context: Context, { isPublic, authenticate, peerHeader }: MetricsOptions): Promise<void> {
  const { authorization, cookie, [peerHeader]: peer } = context.req.headers;
  // The public port puts its own header in the place of one that a client wrote.
  if (isPublic || isLoopback(String(peer))) return;
  const session = sessionRequestOf(context, peerHeader);
  try {
    const { user } = await authenticate({ authorization, cookie, session });
    if (user !== null) return;
  } catch (error) {
    if (!(error instanceof RequestError) || error.code !== "unauthorized") throw error;
  }
  throw new RequestError(
    401,
    "metrics-not-public",
    "metrics are for this machine: ask at a loopback address, send a token, or set metrics.public in the configuration",
  );
}
