import { z } from "zod";
import { listBodySchema, listParametersSchema } from "./list-request.js";
import {
  type ApiPaths,
  jsonAnswer,
  jsonRequestBody,
  jsonSchema,
  operation,
  pathParameter,
  queryParameters,
  security,
} from "./openapi.js";

const representationSchema = z
  .looseObject({ id: z.unknown().describe("the document's `_id`") })
  .describe("the part of a document that clients see");

const pageSchema = z.strictObject({
  data: z.array(representationSchema),
  next: z.string().nullable().describe("`cursor` of the next page, null on the last"),
  position: z
    .string()
    .nullable()
    .describe("a place in the database's history that every row is at least as new as; null before the stream is open"),
});

const interfaceParameter = pathParameter("interface", "its public name, as configured");

/** What `/openapi.json` says of the interfaces' routes. */
export const interfacePaths: ApiPaths = {
  "/api/{interface}": {
    get: operation(
      "Documents of an interface, page by page",
      { 200: jsonAnswer("a page", jsonSchema(pageSchema)) },
      { ...security, parameters: [interfaceParameter, ...queryParameters(listParametersSchema)] },
    ),
  },
  "/api/{interface}/query": {
    post: operation(
      "The same with a body, for filters too long for a URL",
      { 200: jsonAnswer("a page", jsonSchema(pageSchema)) },
      { ...security, parameters: [interfaceParameter], requestBody: jsonRequestBody(listBodySchema) },
    ),
  },
  "/api/{interface}/{id}": {
    get: operation(
      "One document",
      { 200: jsonAnswer("its representation", jsonSchema(representationSchema)) },
      { ...security, parameters: [interfaceParameter, pathParameter("id", "as `id` in a list has it")] },
    ),
  },
};
