import { expect } from "chai";
import type { z } from "zod";
import type { Options } from "../../src/config/settings.js";
import { plainMessage, serverMessage } from "../../src/sockets/protocol.js";
import { signed } from "../auth/issuer.js";
import { connectClient, type TestClient } from "../support/client.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

export type Message = Record<string, unknown>;
export type Item = { _id: number; group: string; n: number; hidden?: number; owner?: string };

export interface LiveClient extends TestClient {
  send(message: object): void;
  /** @returns all up to the first message of the type */
  untilType(type: string, timeoutMilliseconds?: number): Promise<Message[]>;
  /** Subscribes, and @returns all up to `ready`. */
  subscribe(message: object): Promise<Message[]>;
  /** Sends a ping, and @returns all that came before its answer. */
  quiet(): Promise<Message[]>;
}

/** A gateway with interfaces of every kind, and clients of which every message is checked against the schemas. */
export interface ProtocolRig {
  readonly database: SpecDatabase;
  readonly gateway: TestGateway;
  items(): ReturnType<typeof itemsOf>;
  /** Resolves when the gateway has dispatched everything that was written so far. */
  settle(): Promise<void>;
  live(options?: Parameters<typeof connectClient>[1] & { url?: string }): Promise<LiveClient>;
  plain(query?: string, options?: Parameters<typeof connectClient>[1]): Promise<TestClient>;
  /** Closes all clients; everything that any of them was sent has to be what the schemas say. */
  closeClients(): Promise<void>;
  dispose(): Promise<void>;
}

export const secret = "a-secret-of-at-least-32-characters";
export const tokenOf = (sub: string, claims: object = {}): Promise<string> => signed(secret, { sub, ...claims });
export const bearer = (token: string): { headers: Record<string, string> } => ({
  headers: { authorization: `Bearer ${token}` },
});
export const leastPosition = "0".repeat(32);

function itemsOf(database: SpecDatabase) {
  return database.db.collection<Item>("items");
}

export async function startRig(options: Omit<Options, "mongo"> = {}): Promise<ProtocolRig> {
  const database = await freshDatabase();
  await database.db.createCollection("items", { changeStreamPreAndPostImages: { enabled: true } });
  await database.db.createCollection("blind");
  const show = { fields: ["group", "n"], filterable: ["owner"] };
  const gateway = await startTestGateway({
    mongo: database.uri,
    interfaces: {
      items: { ...show, read: true },
      blind: { ...show, read: true },
      mine: { ...show, collection: "items", read: { owner: "$user.sub" } },
      team: { ...show, collection: "items", read: { group: { $in: "$user.groups" } } },
      secret: { read: false },
    },
    ...options,
    auth: { anonymous: true, jwt: { secret }, ...options.auth },
  });
  const checked: { client: TestClient; schema: z.ZodType }[] = [];
  return {
    database,
    gateway,
    items: () => itemsOf(database),
    async settle() {
      const client = await connectClient(`${gateway.websocketUrl}?interfaces=items`);
      await itemsOf(database).insertOne({ _id: -1, group: "settled", n: 0 });
      await itemsOf(database).deleteOne({ _id: -1 });
      await client.until(({ operation, data }) => operation === "delete" && (data as unknown[]).includes(-1));
      await client.close();
    },
    async live({ url = gateway.websocketUrl, ...more } = {}) {
      const client = await connectClient(url, { protocols: ["tailgate.v1"], ...more });
      checked.push({ client, schema: serverMessage });
      return withHelpers(client);
    },
    async plain(query = "", more = {}) {
      const client = await connectClient(`${gateway.websocketUrl}${query}`, more);
      checked.push({ client, schema: plainMessage });
      return client;
    },
    async closeClients() {
      for (const { client, schema } of checked.splice(0)) {
        await client.close();
        for (const message of client.received) {
          const { error } = schema.safeParse(message);
          expect(error?.issues, JSON.stringify(message)).to.equal(undefined);
        }
      }
    },
    async dispose() {
      await gateway.stop();
      await database.dispose();
    },
  };
}

function withHelpers(client: TestClient): LiveClient {
  const send = (message: object): void => client.socket.send(JSON.stringify(message));
  const untilType = (type: string, timeoutMilliseconds?: number): Promise<Message[]> =>
    client.until((message) => message.type === type, timeoutMilliseconds);
  return Object.assign(client, {
    send,
    untilType,
    subscribe(message: object) {
      send({ type: "subscribe", ...message });
      return untilType("ready");
    },
    async quiet() {
      send({ type: "ping" });
      return (await untilType("pong")).slice(0, -1);
    },
  });
}
