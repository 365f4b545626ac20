import { z } from "zod";
import { taskStates } from "../tasks/document.js";
import { itemParametersSchema } from "./format.js";
import { listOperations } from "./interface-paths.js";
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
import { newTaskSchema } from "./tasks.js";

const time = z.iso.datetime().nullable();

const taskSchema = z.looseObject({
  id: z.string(),
  name: z.string(),
  input: z.unknown(),
  state: z.enum(taskStates),
  progress: z.unknown(),
  result: z.unknown(),
  error: z.looseObject({ code: z.string(), message: z.string() }).nullable().optional(),
  user: z.string().nullable().optional().describe("the `sub` of who started it"),
  created_at: time.optional(),
  started_at: time.optional(),
  ended_at: time.optional(),
});

const task = jsonSchema(taskSchema);
const id = pathParameter("id", "of the task");
const list = listOperations("Tasks, page by page", taskSchema.partial().required({ id: true }), []);

/** What `/openapi.json` says of the tasks' routes. */
export const taskPaths: ApiPaths = {
  // A path without parameters is matched before those with some (OpenAPI 3.1, 4.8.8), and what it lacks is not looked for there.
  "/api/tasks": {
    get: list.get,
    post: operation(
      "Starts a task",
      {
        202: {
          ...jsonAnswer("it waits for its turn", task),
          headers: { Location: { description: "where to look for it", schema: { type: "string" } } },
        },
      },
      { ...security, requestBody: jsonRequestBody(newTaskSchema) },
    ),
  },
  "/api/tasks/query": { post: list.query },
  "/api/tasks/{id}": {
    get: operation(
      "A task",
      { 200: jsonAnswer("it", task) },
      { ...security, parameters: [id, ...queryParameters(itemParametersSchema)] },
    ),
    delete: operation("Cancels a task", { 200: jsonAnswer("it", task) }, { ...security, parameters: [id] }),
  },
};
