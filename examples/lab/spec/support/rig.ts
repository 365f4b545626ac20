import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Gateway, Options } from "tailgate";
import { connectClient, type TestClient } from "../../../../spec/support/client.js";
import { freshDatabase, type SpecDatabase } from "../../../../spec/support/server.js";
import { startLab } from "../../lab.js";
import { type StandIn, startStandIn } from "./stand-in.js";

export interface ShownTask {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly progress: unknown;
  readonly result: Record<string, unknown> | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface LabRig {
  readonly gateway: Gateway;
  readonly database: SpecDatabase;
  readonly standIn: StandIn;
  readonly folder: string;
  readonly url: string;
  /** A plain connection that has seen everything since the start. */
  readonly client: TestClient;
  write(name: string, content: string | Buffer): Promise<void>;
  post(name: string, input: unknown): Promise<{ status: number; body: Record<string, unknown> & { id: string } }>;
  /** Starts a task and waits until it has ended. @returns all that was shown of it, the end last */
  run(name: string, input: unknown): Promise<[...ShownTask[], ShownTask]>;
  /** The same, and only the end. */
  end(name: string, input: unknown): Promise<ShownTask>;
  stop(): Promise<void>;
}

/** The lab as it is, with a database and a data folder of its own; GitHub and NCBI are a server on this machine. */
export async function startRig(options: Options = {}): Promise<LabRig> {
  const database = await freshDatabase();
  const standIn = await startStandIn();
  const folder = await mkdtemp(join(tmpdir(), "tailgate-lab-"));
  const gateway = await startLab({
    githubUrl: standIn.url,
    ncbiUrl: `${standIn.url}/eutils`,
    ncbiEmail: "lab@example.org",
    dataFolder: folder,
    gateway: { mongo: database.uri, host: "127.0.0.1", port: 0, logLevel: "silent", ...options },
  });
  const url = `http://127.0.0.1:${gateway.port}`;
  const client = await connectClient(`ws://127.0.0.1:${gateway.port}/ws`);

  const rig: LabRig = {
    gateway,
    database,
    standIn,
    folder,
    url,
    client,
    write: (name, content) => writeFile(join(folder, name), content),
    async post(name, input) {
      const response = await fetch(`${url}/api/tasks`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name, input }),
      });
      return { status: response.status, body: (await response.json()) as { id: string } };
    },
    async run(name, input) {
      const { status, body } = await rig.post(name, input);
      if (status !== 202) throw new Error(`${name} was answered with ${status}: ${JSON.stringify(body)}`);
      const isOf = (message: Record<string, unknown>) =>
        message.interface === "tasks" && (message.data as ShownTask).id === body.id;
      const messages = await client.until(
        (message) => isOf(message) && /complete|failed|cancelled/.test((message.data as ShownTask).state),
      );
      return messages.filter(isOf).map(({ data }) => data as ShownTask) as [...ShownTask[], ShownTask];
    },
    async end(name, input) {
      return (await rig.run(name, input)).at(-1) as ShownTask;
    },
    async stop() {
      await client.close();
      await gateway.stop();
      await standIn.close();
      await database.dispose();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return rig;
}

/** @returns a port that nobody listens on at the moment */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
