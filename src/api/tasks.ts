import type Router from "@koa/router";
import type { Context, Middleware } from "koa";
import type { Document } from "mongodb";
import { z } from "zod";
import type { InterfaceSettings } from "../config/settings.js";
import { createRepresentation } from "../dispatcher/representation.js";
import { RequestError } from "../errors.js";
import type { TaskDocument } from "../tasks/document.js";
import type { Tasks } from "../tasks/tasks.js";
import { bodyOf } from "./body.js";
import { goneSignal } from "./requests.js";
import { userOf } from "./user.js";

/** The body of `POST /api/tasks`. What `input` has to be is each task's own matter. */
export const newTaskSchema = z.strictObject({
  name: z.string().min(1).max(128).describe("which task; the gateway's configuration defines them"),
  input: z.unknown().optional().describe("what the task works on"),
});

export interface TaskRoutesOptions {
  tasks: Tasks;
  /** What clients see of a task: what `tasksInterface` returns. */
  settings: InterfaceSettings;
  /** Reads a JSON body. */
  readBody: Middleware;
}

/**
 * `POST /api/tasks`, `GET /api/tasks/{id}` and `DELETE /api/tasks/{id}`, before the routes of interfaces. The list of
 * tasks is that of any other interface.
 */
export function addTasks(router: Router, { tasks, settings, readBody }: TaskRoutesOptions): void {
  const representation = createRepresentation(settings);
  const show = (context: Context, task: TaskDocument): void => {
    context.body = representation.encode(task as Document);
    context.type = "application/json";
  };

  router.post("/api/tasks", readBody, async (context: Context) => {
    const { name, input } = newTaskOf(bodyOf(context));
    const task = await tasks.create(name, input, userOf(context), goneSignal(context));
    context.status = 202;
    context.set("Location", `/api/tasks/${String(task._id)}`);
    show(context, task);
  });
  router.get("/api/tasks/:id", async (context: RouteContext) => {
    show(context, await tasks.find(context.params.id, userOf(context)));
  });
  router.delete("/api/tasks/:id", async (context: RouteContext) => {
    show(context, await tasks.cancel(context.params.id, userOf(context)));
  });
}

type RouteContext = Context & { params: { id: string } };

function newTaskOf(body: unknown): z.output<typeof newTaskSchema> {
  const parsed = newTaskSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join("."), message }));
  throw new RequestError(400, "bad-request", 'the body has to be {"name":…,"input":…}', { errors });
}
