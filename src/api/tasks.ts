import type Router from "@koa/router";
import type { Context, Middleware } from "koa";
import type { Document } from "mongodb";
import { z } from "zod";
import { resolveRule } from "../auth/rules.js";
import type { InterfaceSettings } from "../config/settings.js";
import { createRepresentation } from "../dispatcher/representation.js";
import { RequestError } from "../errors.js";
import type { TaskDocument } from "../tasks/document.js";
import type { Tasks } from "../tasks/tasks.js";
import { bodyOf } from "./body.js";
import type { Reads } from "./reads.js";
import { goneSignal, notFound, refuseParameters } from "./requests.js";
import { userOf } from "./user.js";
import { writeErrorOf } from "./writes-errors.js";

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
  reads: Reads;
}

/**
 * `POST /api/tasks` and `DELETE /api/tasks/{id}`, before the routes of interfaces. The list of tasks and a single one are
 * those of any other interface.
 */
export function addTasks(router: Router, { tasks, settings, readBody, reads }: TaskRoutesOptions): void {
  const representation = createRepresentation(settings);
  const show = (context: Context, task: TaskDocument): void => {
    context.body = representation.encode(task as Document);
    context.type = "application/json";
  };
  /** In the turns of all other requests, with a database that is away told as to those. */
  const run = (context: Context, work: () => Promise<TaskDocument>): Promise<TaskDocument> =>
    reads.run(goneSignal(context), () =>
      work().catch((error: unknown) => {
        throw writeErrorOf(error, settings.fields);
      }),
    );

  router.post("/api/tasks", refuseParameters, readBody, async (context: Context) => {
    const { name, input } = newTaskOf(bodyOf(context));
    const task = await run(context, () => tasks.create(name, input, userOf(context), goneSignal(context)));
    context.status = 202;
    context.set("Location", `/api/tasks/${String(task._id)}`);
    show(context, task);
  });
  router.delete("/api/tasks/:id", refuseParameters, async (context: RouteContext) => {
    const { id } = context.params;
    const user = userOf(context);
    if (resolveRule(settings.read, user) === false) throw notFound(id);
    const task = await run(context, () => tasks.cancel(id, user));
    show(context, task);
  });
}

type RouteContext = Context & { params: { id: string } };

function newTaskOf(body: unknown): z.output<typeof newTaskSchema> {
  const parsed = newTaskSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join("."), message }));
  throw new RequestError(400, "bad-request", 'the body has to be {"name":…,"input":…}', { errors });
}
