import { RequestError } from "../errors.js";
import type { TaskDefinition } from "./define.js";

/** MongoDB takes documents of 100 levels; the task's own are some of them. */
const maxDepth = 50;

/**
 * Checks what a client sent, before there is a task.
 *
 * @throws RequestError 400 `bad-input` with `errors`, a list of `{ path, message }`; a path such as `files.0.name`, empty
 *   for the input as a whole
 */
export async function checkInput(definition: TaskDefinition, input: unknown): Promise<void> {
  const problem = storageProblem(input, 0);
  const errors = problem === undefined ? await schemaErrors(definition, input) : [{ path: "", message: problem }];
  if (errors.length === 0) return;
  throw new RequestError(400, "bad-input", `the input of the task "${definition.name}" is not right`, { errors });
}

async function schemaErrors(definition: TaskDefinition, input: unknown): Promise<{ path: string; message: string }[]> {
  const parsed = await definition.input.safeParseAsync(input);
  if (parsed.success) return [];
  return parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join("."), message }));
}

/** What the database would refuse, or another reader of the document stumble over, wherever the schema lets it pass. */
function storageProblem(value: unknown, depth: number): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (depth >= maxDepth) return `may be nested ${maxDepth} levels deep at most`;
  for (const [key, inner] of Object.entries(value)) {
    if (key === "__proto__" || key.includes("\0")) return `can't have a key ${JSON.stringify(key)}`;
    const problem = storageProblem(inner, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
