import { z } from "zod";
import { RequestError } from "../errors.js";
import { filterLimits } from "../filter/limits.js";
import type { Filter } from "../filter/parse.js";
import { parseFilter, parseFilterText } from "../filter/parse.js";
import type { Format } from "../message.js";
import { maxCursorLength } from "./cursor.js";
import { badFormat, formatSchema } from "./format.js";

export const defaultLimit = 50;
export const maxLimit = 1_000;

const limit = z.int().min(1).max(maxLimit);
const sort = z
  .string()
  .min(1)
  .max(filterLimits.sortKeys * (filterLimits.pathLength + 2))
  .meta({
    description: "paths joined by commas, descending with a leading minus; `id` is the last key in any case",
    examples: ["-created_at,name"],
  });
const cursor = z.string().max(maxCursorLength).describe("`next` of the page before, of the same query");

/** The parameters of `GET /api/{interface}`, each as its text. */
export const listParametersSchema = z.strictObject({
  filter: z
    .string()
    .max(filterLimits.text)
    .meta({ description: "JSON or Extended JSON, in MongoDB's language", examples: ['{"state":"running"}'] })
    .optional(),
  sort: sort.optional(),
  fields: z.string().describe("paths joined by commas: only these of what the interface shows").optional(),
  limit: z
    .string()
    .regex(/^\d{1,4}$/)
    .transform(Number)
    .pipe(limit)
    .meta({ default: defaultLimit })
    .optional(),
  cursor: cursor.optional(),
  format: formatSchema.optional(),
});

/** The body of `POST /api/{interface}/query`. */
export const listBodySchema = z.strictObject({
  filter: z
    .record(z.string(), z.unknown())
    .meta({ description: "JSON or Extended JSON, in MongoDB's language", examples: [{ state: "running" }] })
    .optional(),
  sort: sort.optional(),
  fields: z.array(z.string()).describe("only these paths of what the interface shows").optional(),
  limit: limit.meta({ default: defaultLimit }).optional(),
  cursor: cursor.optional(),
  format: formatSchema.optional(),
});

/** A request for a page, with what needs no knowledge of the interface checked. */
export interface ListRequest {
  readonly filter: (allowedPaths: readonly string[] | undefined) => Filter;
  readonly sort: string;
  readonly fields: readonly string[] | undefined;
  readonly limit: number;
  readonly cursor: string | undefined;
  readonly format: Format;
}

/**
 * @param querystring - without its question mark
 * @throws RequestError 400 `unknown-parameter`, `repeated-parameter`, `bad-limit`, `bad-sort`, `bad-cursor`, `bad-format` or
 *   `bad-filter`
 */
export function listRequestOfQuery(querystring: string): ListRequest {
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(querystring)) {
    if (!Object.hasOwn(listParametersSchema.shape, name)) throw unknown(name);
    if (parameters.has(name)) {
      throw new RequestError(400, "repeated-parameter", `the parameter ${name} is there more than once`);
    }
    parameters.set(name, value);
  }
  const { filter, fields, ...rest } = checked(listParametersSchema, Object.fromEntries(parameters));
  return {
    ...complete(rest),
    filter: (allowedPaths) => (filter === undefined ? parseFilter({}) : parseFilterText(filter, { allowedPaths })),
    fields: fields === undefined ? undefined : fields.split(",", maxLimit).map((path) => path.trimStart()),
  };
}

/**
 * @param body - as it was parsed
 * @throws RequestError as {@link listRequestOfQuery}, and `bad-fields`
 */
export function listRequestOfBody(body: unknown): ListRequest {
  const { filter = {}, fields, ...rest } = checked(listBodySchema, body);
  return { ...complete(rest), filter: (allowedPaths) => parseFilter(filter, { allowedPaths }), fields };
}

function complete(given: {
  sort?: string | undefined;
  limit?: number | undefined;
  cursor?: string | undefined;
  format?: Format | undefined;
}) {
  const { sort = "", limit = defaultLimit, cursor, format = "json" } = given;
  return { sort, limit, cursor, format };
}

/** What is wrong with a parameter, by its name. */
const faults: ReadonlyMap<PropertyKey, readonly [code: string, detail: string]> = new Map([
  ["filter", ["bad-filter", "filter has to be a JSON object, of a size that is allowed"]],
  ["sort", ["bad-sort", "sort has to be paths joined by commas, descending with a leading minus"]],
  ["fields", ["bad-fields", "fields has to be a list of paths"]],
  ["limit", ["bad-limit", `limit has to be a whole number from 1 to ${maxLimit}`]],
  ["format", ["bad-format", badFormat().message]],
  ["cursor", ["bad-cursor", "cursor has to be `next` of an answer"]],
]);

function checked<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue?.code === "unrecognized_keys") throw unknown(issue.keys[0] ?? "");
  const [code, detail] = faults.get(issue?.path[0] ?? "") ?? ["bad-request", "the body has to be a JSON object"];
  throw new RequestError(400, code, detail);
}

function unknown(name: string): RequestError {
  const known = Object.keys(listParametersSchema.shape).join(", ");
  return new RequestError(
    400,
    "unknown-parameter",
    `there is no parameter ${JSON.stringify(name)}; these are: ${known}`,
  );
}
