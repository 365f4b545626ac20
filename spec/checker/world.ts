import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Db, MongoClient } from "mongodb";
import { signed } from "../auth/issuer.js";
import { failCommand } from "../support/failpoint.js";
import { temporaryFiles } from "../support/gateway.js";
import { freePort } from "../support/port.js";
import { startProxy, type Proxy as TcpProxy } from "../support/proxy.js";
import { freshDatabase, type OwnServer } from "../support/server.js";
import { type CollectionName, collections, hasImages, type Stamped } from "./documents.js";
import type { Findings } from "./findings.js";
import { GatewayProcess } from "./gateways.js";
import { Ledger } from "./ledger.js";
import { createRandom } from "./random.js";
import type { Scenario } from "./scenarios.js";
import { interfaceSettings, type User } from "./views.js";
import { Writer } from "./writer.js";

const secret = "a-secret-of-at-least-32-characters";

export interface WorldOptions {
  readonly seed: number;
  readonly scenario: Scenario;
  readonly server: OwnServer;
  readonly findings: Findings;
  /** Where the gateway's sources are, if they are a copy. */
  readonly root?: string;
}

/** The parts of a run that stand: a database, its writers, and gateways that reach it through proxies. */
export class World {
  readonly ledger = new Ledger();
  readonly gateways: GatewayProcess[] = [];
  readonly proxies: TcpProxy[] = [];
  readonly writers: Writer[] = [];
  readonly server: OwnServer;
  readonly db: Db;
  readonly findings: Findings;
  readonly #client: MongoClient;
  readonly #dispose: (() => Promise<void>)[] = [];
  readonly #stopWriting = new AbortController();
  /** When each collection was dropped, by the clock of `performance.now()`. */
  readonly #drops = new Map<string, number[]>();
  #writing: Promise<unknown> = Promise.resolve();
  /** Writes wait for it while a collection is being dropped. */
  #turn: Promise<void> = Promise.resolve();
  readonly #running = new Set<Promise<void>>();

  private constructor(options: WorldOptions, client: MongoClient) {
    this.server = options.server;
    this.findings = options.findings;
    this.#client = client;
    this.db = client.db();
    const { scenario, seed } = options;
    for (let number = 1; number <= scenario.writers; number++) {
      const random = createRandom(seed, `writer ${number}`);
      const { db, ledger } = this;
      this.writers.push(new Writer({ ...scenario, number, client, db, ledger, random }));
    }
  }

  static async create(options: WorldOptions): Promise<World> {
    const database = await freshDatabase(options.server);
    const world = new World(options, database.client);
    world.#dispose.push(database.dispose);
    try {
      await world.#start(options);
    } catch (error) {
      await world.dispose();
      throw error;
    }
    return world;
  }

  async #start(options: WorldOptions): Promise<void> {
    for (const name of collections) await this.#createCollection(name);
    const files = await temporaryFiles({
      "tailgate.config.json": JSON.stringify({
        interfaces: interfaceSettings(),
        auth: { anonymous: true, jwt: { secret } },
        limits: { messagesPerMinute: 1_000_000, connectionsPerUser: 10_000, bufferedMegabytes: 1 },
      }),
    });
    this.#dispose.push(files.dispose);
    for (let index = 0; index < options.scenario.gateways; index++) {
      const proxy = await startProxy({ port: options.server.port });
      this.proxies.push(proxy);
      this.#dispose.push(proxy.close);
      const environment = {
        MONGODB_URI: `mongodb://127.0.0.1:${proxy.port}/${this.db.databaseName}?directConnection=true`,
        TAILGATE_CONFIG: join(files.folder, "tailgate.config.json"),
      };
      const { findings, root } = options;
      this.gateways.push(new GatewayProcess(`gateway ${index}`, await freePort(), { environment, root, findings }));
    }
    await Promise.all(this.gateways.map((gateway) => gateway.start()));
  }

  /** A token with the user's claims. */
  tokenOf(user: User): Promise<string> {
    return signed(secret, { ...user });
  }

  async beginWriting(): Promise<void> {
    await Promise.all(this.writers.map((writer) => writer.begin()));
    const turn = async (operation: () => Promise<void>): Promise<void> => {
      await this.#turn;
      const running = operation();
      this.#running.add(running);
      await running.finally(() => this.#running.delete(running));
    };
    this.#writing = Promise.all(this.writers.map((writer) => writer.run(this.#stopWriting.signal, turn)));
  }

  async endWriting(): Promise<void> {
    this.#stopWriting.abort();
    await this.#writing;
  }

  /** Drops a collection between two writes, and makes it again. */
  async drop(name: CollectionName): Promise<void> {
    let release = (): void => undefined;
    this.#turn = new Promise((resolve) => {
      release = resolve;
    });
    try {
      await Promise.all(this.#running);
      const dropped = this.#drops.get(name) ?? [];
      this.#drops.set(name, [...dropped, performance.now()]);
      await this.#untilDone(() => this.db.collection(name).drop());
      for (const writer of this.writers) writer.forget(name);
      await this.#untilDone(() => this.#createCollection(name));
    } finally {
      release();
    }
  }

  /** No change stream can be opened for a while, and those that are open break. */
  async refuseStreams(milliseconds: number): Promise<void> {
    // Of a code that says more of the server, the driver would make a pause of its own.
    const cursorNotFound = { errorCode: 43, errorLabels: ["ResumableChangeStreamError"] };
    // A server that is killed meanwhile forgets it.
    await failCommand(this.#client, "alwaysOn", { failCommands: ["aggregate", "getMore"], ...cursorNotFound }).catch(
      () => undefined,
    );
    await sleep(milliseconds);
    await this.#untilDone(() => failCommand(this.#client, "off", undefined));
  }

  /** @param since - what a client was told then, or a little earlier, may have been of before the drop */
  wasDropped(name: string, since: number): boolean {
    return (this.#drops.get(name) ?? []).some((at) => at > since - 30_000);
  }

  /** Ends everything but the server; the gateways with it. */
  async dispose(): Promise<void> {
    this.#stopWriting.abort();
    await Promise.all(this.gateways.map((gateway) => gateway.end("SIGKILL")));
    await this.#writing.catch(() => undefined);
    for (const dispose of this.#dispose.reverse()) await dispose();
    await this.#client.close();
  }

  async #createCollection(name: CollectionName): Promise<void> {
    await this.db.createCollection<Stamped>(name, { changeStreamPreAndPostImages: { enabled: hasImages(name) } });
  }

  /** The database may be away meanwhile; what was done before it went is not done again. */
  async #untilDone(what: () => Promise<unknown>): Promise<void> {
    const namespaceExists = 48;
    for (;;) {
      try {
        await what();
        return;
      } catch (error) {
        if ((error as { code?: unknown }).code === namespaceExists) return;
        await sleep(100);
      }
    }
  }
}
