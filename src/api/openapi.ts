import type Router from "@koa/router";
import { z } from "zod";
import { version } from "../version.js";
import { problemSchema } from "./problem.js";

/** Operations of the API by path and method, as OpenAPI has them. */
export type ApiPaths = Readonly<Record<string, Readonly<Record<string, object>>>>;

/** Routes with their description, which `/openapi.json` puts together. */
export interface ApiPart {
  /** Paths under `/api` are behind authentication: see `userOf`. */
  add(router: Router): void;
  readonly paths: ApiPaths;
}

/**
 * Serves the description of all routes, made once from the schemas that validate.
 *
 * @param parts - everything that has routes, this one excepted
 */
export function addOpenApi(router: Router, parts: readonly ApiPart[]): void {
  const own: ApiPaths = {
    "/openapi.json": { get: operation("This description", { 200: jsonAnswer("OpenAPI 3.1", {}) }) },
  };
  const text = JSON.stringify({
    openapi: "3.1.0",
    info: {
      title: "Tailgate",
      version,
      description:
        "The realtime gateway for MongoDB: reads and writes of the configured interfaces, tasks and the gateway's state.",
    },
    paths: Object.assign({}, ...parts.map((part) => part.paths), own),
    components: {
      schemas: { Problem: jsonSchema(problemSchema) },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        cookie: { type: "apiKey", in: "cookie", name: "tailgate_token" },
      },
    },
  });
  router.get("/openapi.json", (context) => {
    context.type = "application/json";
    context.body = text;
  });
}

/**
 * @param responses - by status; the answer to every failure is added
 * @param more - parameters, body, security
 */
export function operation(summary: string, responses: Readonly<Record<number, object>>, more: object = {}): object {
  const problem = { $ref: "#/components/schemas/Problem" };
  return {
    summary,
    ...more,
    responses: {
      ...responses,
      default: { description: "a problem", content: { "application/problem+json": { schema: problem } } },
    },
  };
}

/** @param schema - what else the problem has */
export function problemAnswer(description: string, schema?: z.ZodType): object {
  const problem = { $ref: "#/components/schemas/Problem" };
  const all = schema === undefined ? problem : { allOf: [problem, jsonSchema(schema)] };
  return { description, content: { "application/problem+json": { schema: all } } };
}

/** The two ways to carry a token, and none, where anonymous requests are allowed. */
export const security = { security: [{ bearer: [] }, { cookie: [] }, {}] };

export function jsonAnswer(description: string, schema: object): object {
  return { description, content: { "application/json": { schema } } };
}

/** @param moreTypes - media types that are taken beside `application/json` */
export function jsonRequestBody(schema: z.ZodType, moreTypes: readonly string[] = []): object {
  const content = { schema: jsonSchema(schema, "input") };
  return {
    required: true,
    content: Object.fromEntries(["application/json", ...moreTypes].map((type) => [type, content])),
  };
}

export function pathParameter(name: string, description: string): object {
  return { name, in: "path", required: true, description, schema: { type: "string" } };
}

/** @param schema - of all parameters of a query, each with a description of its own */
export function queryParameters(schema: z.ZodObject): object[] {
  return Object.entries(schema.shape).map(([name, each]) => {
    // What comes out: a number that was sent as text is still a number to who writes a client.
    const { description, ...rest } = jsonSchema(each as z.ZodType, "output") as { description?: string };
    return { name, in: "query", required: false, ...(description === undefined ? {} : { description }), schema: rest };
  });
}

export function jsonSchema(schema: z.ZodType, io: "input" | "output" = "output"): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as { $schema?: string };
  return rest;
}
