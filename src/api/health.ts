import { z } from "zod";
import { RequestError } from "../errors.js";
import { version } from "../version.js";
import { type ApiPart, jsonAnswer, jsonSchema, operation, problemAnswer } from "./openapi.js";
import { sendProblem } from "./problem.js";

/** What keeps the gateway from being ready, as sentences; none where it is. */
export type Readiness = () => readonly string[];

const livenessSchema = z.strictObject({ status: z.literal("ok") });
const readinessSchema = z.strictObject({
  status: z.literal("ready"),
  reasons: z.array(z.string()).max(0).describe("what keeps the gateway from being ready"),
});
const notReadySchema = z.looseObject({
  code: z.literal("not-ready"),
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
          503: problemAnswer("it can't: the database or the stream is away, or it is stopping", notReadySchema),
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
        if (reasons.length === 0) {
          context.body = { status: "ready", reasons: [] } satisfies z.output<typeof readinessSchema>;
          return;
        }
        // Not thrown, for that would make a line in the log of each time that somebody asks.
        sendProblem(context, new RequestError(503, "not-ready", `not ready: ${reasons.join("; ")}`, { reasons }));
      });
      router.get("/version", (context) => {
        const running: z.output<typeof versionSchema> = { name: "tailgate", version, node: process.versions.node };
        context.body = running;
      });
    },
  };
}
