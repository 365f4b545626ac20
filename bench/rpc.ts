import type { ChildProcess } from "node:child_process";

/** What a process of the benchmark does when it is asked: plain data in, plain data out. */
export type Methods = Record<string, (argument: never) => unknown>;

export type Call<M extends Methods> = <Name extends keyof M & string>(
  name: Name,
  argument: Parameters<M[Name]>[0],
) => Promise<Awaited<ReturnType<M[Name]>>>;

interface Request {
  id: number;
  name: string;
  argument: unknown;
}

interface Reply {
  id: number;
  result?: unknown;
  error?: string;
}

/** Answers the parent's calls over the IPC channel, and ends this process when the parent is gone. */
export function answer(methods: Methods): void {
  const table = methods as Record<string, ((argument: unknown) => unknown) | undefined>;
  process.on("message", async ({ id, name, argument }: Request) => {
    const reply: Reply = { id };
    try {
      const method = table[name];
      if (method === undefined) throw new Error(`this process has no method ${name}`);
      reply.result = await method(argument);
    } catch (error) {
      reply.error = error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
    process.send?.(reply);
  });
  process.on("disconnect", () => process.exit(0));
  // Ctrl-C reaches the whole group. The parent still asks for things then, such as dropping the database.
  process.on("SIGINT", () => {});
}

/**
 * @param child - a process that called `answer`
 * @returns a function that calls its methods; a call fails when the method throws or the process ends
 */
export function caller<M extends Methods>(child: ChildProcess): Call<M> {
  const waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void; name: string }>();
  let nextId = 1;
  let ended: Error | undefined;
  child.on("message", (reply: Reply) => {
    const call = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.error !== undefined) call?.reject(new Error(`${call.name} failed: ${reply.error}`));
    else call?.resolve(reply.result as never);
  });
  child.on("exit", (code, signal) => {
    ended = new Error(`process ${child.pid} ended with ${signal ?? code}`);
    for (const call of waiting.values()) call.reject(ended);
    waiting.clear();
  });
  return (name, argument) =>
    new Promise((resolve, reject) => {
      if (ended !== undefined) return reject(ended);
      const id = nextId++;
      waiting.set(id, { resolve, reject, name });
      child.send({ id, name, argument } satisfies Request, (error) => {
        if (error !== null && waiting.delete(id)) reject(error);
      });
    });
}
