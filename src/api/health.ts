import { z } from "zod";
import { version } from "../version.js";
import { type ApiPart, jsonAnswer, jsonSchema, operation } from "./openapi.js";

/** What keeps the gateway from being ready, as sentences; none where it is. */
export type Readiness = () => readonly string[];

const livenessSchema = z.strictObject({ status: z.literal("ok") });
const readinessSchema = z.strictObject({
  status: z.enum(["ready", "not ready"]),
  reasons: z.array(z.string()).describe("what keeps the gateway from being ready"),
});
const versionSchema = z.strictObject({ name: z.literal("tailgate"), version: z.string(), node: z.string() });

/** `/livez`, `/readyz` and `/version`: what supervisors and load balancers ask. */
export function healthPart(readiness: Readiness): ApiPart {
  return {
    paths: {
      "/livez": {
        get: operation("Whether the process answers", { 200: jsonAnswer("it does", jsonSchema(livenessSchema)) }),
      },
      "/readyz": {
        get: operation("Whether the gateway can serve", {
          200: jsonAnswer("it can", jsonSchema(readinessSchema)),
          503: jsonAnswer(
            "it can't: the database or the stream is away, or it is stopping",
            jsonSchema(readinessSchema),
          ),
        }),
      },
      "/version": { get: operation("What is running", { 200: jsonAnswer("it", jsonSchema(versionSchema)) }) },
    },
    add(router) {
      const fresh = (context: { set(name: string, value: string): void }): void =>
        context.set("Cache-Control", "no-store");
      router.get("/livez", (context) => {
        fresh(context);
        context.body = { status: "ok" } satisfies z.output<typeof livenessSchema>;
      });
      router.get("/readyz", (context) => {
        fresh(context);
        const reasons = [...readiness()];
        const isReady = reasons.length === 0;
        context.status = isReady ? 200 : 503;
        context.body = { status: isReady ? "ready" : "not ready", reasons } satisfies z.output<typeof readinessSchema>;
      });
      router.get("/version", (context) => {
        const running: z.output<typeof versionSchema> = { name: "tailgate", version, node: process.versions.node };
        context.body = running;
      });
    },
  };
}
