import type Router from "@koa/router";
import type { Metrics } from "../metrics.js";
import { version } from "../version.js";

/** What keeps the gateway from being ready, as sentences; none where it is. */
export type Readiness = () => readonly string[];

/** `/livez`, `/readyz`, `/version` and `/metrics`: what supervisors, load balancers and monitors ask. */
export function addHealth(router: Router, readiness: Readiness, metrics: Metrics): void {
  router.get("/livez", (context) => {
    context.body = { status: "ok" };
  });
  router.get("/readyz", (context) => {
    const reasons = readiness();
    context.status = reasons.length === 0 ? 200 : 503;
    context.body = { status: reasons.length === 0 ? "ready" : "not ready", reasons };
  });
  router.get("/version", (context) => {
    context.body = { name: "tailgate", version, node: process.versions.node };
  });
  router.get("/metrics", async (context) => {
    context.body = await metrics.registry.metrics();
    context.set("Content-Type", metrics.registry.contentType);
  });
}
