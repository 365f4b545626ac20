import { settingsOf } from "../../../src/config/load.js";
import { startGateway } from "../../../src/gateway.js";
import type { Options, TaskDefinition } from "../../../src/index.js";
import { createLog } from "../../../src/log.js";
import { connectClient, type TestClient } from "../../support/client.js";
import type { SpecDatabase } from "../../support/server.js";

export interface TaskRig {
  readonly gateway: Awaited<ReturnType<typeof startGateway>>;
  readonly logged: readonly Record<string, unknown>[];
  post(name: string, input?: unknown): Promise<Answer>;
  get(path: string): Promise<Answer>;
  cancel(id: string): Promise<Answer>;
  /** A plain connection that sees all tasks. */
  watch(): Promise<TestClient>;
  stop(): Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown> & { id: string };
}

/** A gateway in this process with tasks. */
export async function startTasks(
  database: SpecDatabase,
  definitions: readonly TaskDefinition[],
  options: Options & { limits?: object; taskSettings?: object; leaseMilliseconds?: number } = {},
): Promise<TaskRig> {
  const { taskSettings, leaseMilliseconds, ...rest } = options;
  const logged: Record<string, unknown>[] = [];
  const log = createLog("debug", { write: (line: string) => void logged.push(JSON.parse(line)) });
  const settings = settingsOf(
    { port: 0, mongo: database.uri, auth: { anonymous: true }, tasks: { ...taskSettings, definitions }, ...rest },
    {},
  );
  const gateway = await startGateway(
    { ...settings, tasks: { ...settings.tasks, ...(leaseMilliseconds !== undefined && { leaseMilliseconds }) } },
    log,
  );
  const url = `http://127.0.0.1:${gateway.port}`;
  return {
    gateway,
    logged,
    post: (name, input) =>
      answer(
        fetch(`${url}/api/tasks`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ name, input }),
        }),
      ),
    get: (path) => answer(fetch(`${url}${path}`)),
    cancel: (id) => answer(fetch(`${url}/api/tasks/${id}`, { method: "DELETE" })),
    watch: () => connectClient(`ws://127.0.0.1:${gateway.port}/ws?interfaces=tasks`),
    stop: () => gateway.stop(),
  };
}

async function answer(request: Promise<Response>): Promise<Answer> {
  const response = await request;
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === "" ? {} : JSON.parse(text) };
}

export type Shown = Record<string, unknown> & { id: string; state: string };

/** Waits until a task is in one of the states. @returns all that was shown of it, since the client connected, up to then */
export async function until(client: TestClient, id: string, ...states: string[]): Promise<Shown[]> {
  const isIt = (message: Record<string, unknown>): boolean => {
    const data = message.data as Shown;
    return data.id === id && states.includes(data.state);
  };
  if (!client.received.some(isIt)) await client.until(isIt);
  const last = client.received.findIndex(isIt);
  return client.received
    .slice(0, last + 1)
    .map(({ data }) => data as Shown)
    .filter((data) => data.id === id);
}

/** @returns the task as it was shown when it had ended */
export async function ended(client: TestClient, id: string): Promise<Shown> {
  return (await until(client, id, "complete", "failed", "cancelled")).at(-1) as Shown;
}
