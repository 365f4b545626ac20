import { z } from "zod";
import { itemParametersSchema } from "./format.js";
import { listBodySchema, listParametersSchema } from "./list-request.js";
import {
  type ApiPaths,
  jsonAnswer,
  jsonRequestBody,
  jsonSchema,
  operation,
  pathParameter,
  problemAnswer,
  queryParameters,
  security,
} from "./openapi.js";
import { validationProblemSchema } from "./writes-errors.js";
import { mergePatchSchema, mergePatchType, newDocumentSchema } from "./writes-values.js";

const representationSchema = z
  .looseObject({ id: z.unknown().describe("the document's `_id`") })
  .describe("the part of a document that clients see");

const next = z.string().nullable().describe("`cursor` of the next page, null on the last");
const place = z
  .string()
  .nullable()
  .describe("a place in the database's history that every row is at least as new as; null before the stream is open");

const interfaceParameter = pathParameter("interface", "its public name, as configured");

const idParameter = pathParameter("id", "as `id` in a list has it");

const header = (description: string): object => ({ description, schema: { type: "string" } });
const ifMatch = { name: "If-Match", in: "header", ...header("`ETag` of the state that is meant to be changed") };
const etag = { ETag: header("of the representation; absent where the user may not read what was written") };
const position = {
  "Tailgate-Position": header("the write is visible on the stream at this place of the database's history"),
};
const representation = jsonSchema(representationSchema);
const duplicate = problemAnswer("`duplicate`, or `conflict`: others keep changing the document");
const invalid = problemAnswer("what the collection's own validator refuses", validationProblemSchema);
const changedSince = problemAnswer("`If-Match` names another state than the document's");
const hiddenOrAbsent = problemAnswer("it is not there, or not there for the user");

/**
 * A list, asked for in the URL and with a body.
 *
 * @param summary - of the first
 * @param row - of which any member but `id` may be left out, by `fields`
 * @param parameters - of the path
 */
export function listOperations(
  summary: string,
  row: z.ZodType,
  parameters: readonly object[],
): { readonly get: object; readonly query: object } {
  const answers = {
    200: jsonAnswer("a page", jsonSchema(z.strictObject({ data: z.array(row), next, position: place }))),
  };
  return {
    get: operation(summary, answers, {
      ...security,
      parameters: [...parameters, ...queryParameters(listParametersSchema)],
    }),
    query: operation("The same with a body, for filters too long for a URL", answers, {
      ...security,
      parameters,
      requestBody: jsonRequestBody(listBodySchema),
    }),
  };
}

const list = listOperations("Documents of an interface, page by page", representationSchema, [interfaceParameter]);

/** What `/openapi.json` says of the interfaces' routes. */
export const interfacePaths: ApiPaths = {
  "/api/{interface}": {
    get: list.get,
    post: operation(
      "Adds a document",
      {
        201: {
          ...jsonAnswer("its representation", representation),
          headers: { Location: header("where it is"), ...position, ...etag },
        },
        403: problemAnswer("the `write` rule does not allow this document"),
        409: duplicate,
        422: invalid,
      },
      { ...security, parameters: [interfaceParameter], requestBody: jsonRequestBody(newDocumentSchema) },
    ),
  },
  "/api/{interface}/query": { post: list.query },
  "/api/{interface}/{id}": {
    get: operation(
      "One document",
      {
        200: { ...jsonAnswer("its representation", representation), headers: etag },
        304: { description: "it is still what `If-None-Match` names" },
      },
      {
        ...security,
        parameters: [
          interfaceParameter,
          idParameter,
          ...queryParameters(itemParametersSchema),
          { name: "If-None-Match", in: "header", ...header("`ETag` of the state that the client has") },
        ],
      },
    ),
    patch: operation(
      "Changes a document",
      {
        200: { ...jsonAnswer("its representation", representation), headers: { ...position, ...etag } },
        403: problemAnswer("the `write` rule does not allow what the document would become"),
        404: hiddenOrAbsent,
        409: duplicate,
        412: changedSince,
        422: invalid,
      },
      {
        ...security,
        parameters: [interfaceParameter, idParameter, ifMatch],
        requestBody: jsonRequestBody(mergePatchSchema, [mergePatchType]),
      },
    ),
    delete: operation(
      "Removes a document",
      { 204: { description: "it is gone", headers: position }, 404: hiddenOrAbsent, 412: changedSince },
      { ...security, parameters: [interfaceParameter, idParameter, ifMatch] },
    ),
  },
};
