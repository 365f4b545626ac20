import { setTimeout as sleep } from "node:timers/promises";
import { serverMessage } from "../../src/sockets/protocol.js";
import { connectClient, type TestClient } from "../support/client.js";
import { Chains } from "./chain.js";
import type { Findings } from "./findings.js";
import type { GatewayProcess } from "./gateways.js";
import type { Places } from "./places.js";
import type { Random } from "./random.js";
import { type Message, Replica, type Row } from "./replica.js";
import type { Sight } from "./sight.js";
import type { Wanted } from "./views.js";

export interface MemberOptions {
  readonly name: string;
  readonly wanted: readonly Wanted[];
  readonly headers: Record<string, string>;
  readonly sight: Sight;
  readonly places: Places;
  readonly findings: Findings;
  readonly random: Random;
  /** Whether the collection was dropped after that moment. */
  dropped(collection: string, since: number): boolean;
}

/** What a connection went through that may be a good reason for its end. */
interface Circumstances {
  readonly gateway: GatewayProcess;
  readonly endings: number;
  readonly wasUp: boolean;
  readonly openedAt: number;
  wasStalled: boolean;
  isLeaving: boolean;
}

/**
 * uWebSockets may shut a connection down in the turn in which it was upgraded, if that was not the turn of its request: after
 * `res.cork(() => res.upgrade(…))` it looks at the state of the response that was, which lies in reused memory by then. About one in a
 * hundred ends so, with 1006, before anything but `welcome`.
 */
export const stillbornMilliseconds = 250;

/** A client of `tailgate.v1` with some subscriptions, which comes back whenever it is cut off. */
export class Member {
  readonly replicas: readonly Replica[];
  readonly name: string;
  gateway: GatewayProcess;
  /** The latest answer to a ping, on this connection. */
  pong = "";
  readonly #options: MemberOptions;
  readonly #ending = new AbortController();
  #client: TestClient | undefined;
  #circumstances: Circumstances | undefined;
  #chains = new Chains();
  /** Subscriptions by their `id` on this connection. */
  readonly #byId = new Map<string, Replica>();
  #subscriptions = 0;
  #isStalled = false;
  #away: Promise<unknown> = Promise.resolve();
  readonly #running: Promise<void>;

  constructor(options: MemberOptions, gateway: GatewayProcess) {
    this.#options = options;
    this.name = options.name;
    this.gateway = gateway;
    const { findings, dropped } = options;
    this.replicas = options.wanted.map(
      (wanted, index) =>
        new Replica({
          wanted,
          findings,
          who: `${options.name}.${index} ${wanted.interface}`,
          dropped: (since) => dropped(wanted.collection, since),
        }),
    );
    this.#running = this.#run();
  }

  get isComplete(): boolean {
    return this.#client !== undefined && this.replicas.every((replica) => replica.isReady);
  }

  /** Goes away, and comes back after a while, perhaps to another gateway. */
  leave(milliseconds: number, to = this.gateway): void {
    this.gateway = to;
    this.#away = sleep(milliseconds, undefined, { signal: this.#ending.signal }).catch(() => undefined);
    if (this.#circumstances !== undefined) this.#circumstances.isLeaving = true;
    const socket = this.#client?.socket;
    // Half of them vanish without a word.
    if (this.#options.random.chance(0.5)) socket?.terminate();
    else socket?.close();
  }

  /** Stops reading for a while. */
  async stall(milliseconds: number): Promise<void> {
    const socket = this.#client?.socket;
    if (this.#isStalled || socket === undefined || socket.readyState !== socket.OPEN) return;
    this.#isStalled = true;
    if (this.#circumstances !== undefined) this.#circumstances.wasStalled = true;
    socket.pause();
    await sleep(milliseconds, undefined, { signal: this.#ending.signal }).catch(() => undefined);
    if (socket.readyState === socket.OPEN) socket.resume();
    this.#isStalled = false;
  }

  /** Ends one subscription and makes it again at once, with what it holds or from nothing. */
  renew(isForgetting: boolean): void {
    if (this.#client === undefined) return;
    const [id, replica] = this.#options.random.pick([...this.#byId]) ?? [];
    if (id === undefined || replica === undefined || !replica.isReady) return;
    this.#renew(id, replica, isForgetting);
  }

  ping(): void {
    this.#send({ type: "ping" });
  }

  async close(): Promise<void> {
    if (this.#circumstances !== undefined) this.#circumstances.isLeaving = true;
    this.#ending.abort();
    this.#client?.socket.resume();
    await this.#client?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { random } = this.#options;
    while (!this.#ending.signal.aborted) {
      await this.#connect();
      // Much sooner than a client should: here the crowd is wanted.
      await sleep(20 + random.below(300), undefined, { signal: this.#ending.signal }).catch(() => undefined);
      await this.#away;
    }
  }

  async #connect(): Promise<void> {
    const { gateway } = this;
    const circumstances = {
      gateway,
      endings: gateway.endings,
      wasUp: gateway.isUp,
      openedAt: performance.now(),
      wasStalled: false,
      isLeaving: false,
    };
    this.#circumstances = circumstances;
    this.#chains = new Chains();
    this.#byId.clear();
    this.pong = "";
    const early: string[] = [];
    let hear = (text: string): void => void early.push(text);
    const client = await connectClient(gateway.websocketUrl, {
      protocols: ["tailgate.v1"],
      headers: this.#options.headers,
      heard: (text) => hear(text),
    });
    if (client.socket.readyState === client.socket.OPEN && !this.#ending.signal.aborted) {
      this.#client = client;
      hear = (text) => this.#hear(text);
      for (const text of early) this.#hear(text);
      for (const replica of this.replicas) this.#subscribe(replica);
    } else client.socket.close();
    const { code, reason } = await client.closed;
    this.#client = undefined;
    for (const replica of this.replicas) replica.disconnected();
    this.#checkClose(circumstances, code, reason);
  }

  #checkClose(circumstances: Circumstances, code: number, reason: string): void {
    const { gateway, endings, wasUp, openedAt, wasStalled, isLeaving } = circumstances;
    const wasEnded = !wasUp || !gateway.isUp || gateway.endings > endings;
    if (isLeaving || this.#ending.signal.aborted) return;
    if ((code === 1006 || code === 1001) && wasEnded) return;
    if (code === 4508 && wasStalled) return;
    if (code === 1006 && performance.now() - openedAt < stillbornMilliseconds) {
      this.#options.findings.tell(`${this.name} is cut off at its beginning`);
      return;
    }
    this.#options.findings.add("close", this.name, `closed with ${code} ${reason}`);
  }

  #subscribe(replica: Replica): void {
    const id = `${this.replicas.indexOf(replica)}-${++this.#subscriptions}`;
    this.#byId.set(id, replica);
    this.#send(replica.subscription(id));
  }

  #renew(id: string, replica: Replica, isForgetting: boolean): void {
    this.#byId.delete(id);
    if (isForgetting) replica.forget();
    this.#send({ type: "unsubscribe", id });
    this.#subscribe(replica);
  }

  #send(message: object): void {
    const socket = this.#client?.socket;
    if (socket?.readyState === socket?.OPEN) socket?.send(JSON.stringify(message));
  }

  #hear(text: string): void {
    const { findings, sight } = this.#options;
    sight.look(this.name, text);
    const message = JSON.parse(text) as Message;
    const { error } = serverMessage.safeParse(message);
    if (error !== undefined) findings.add("protocol", this.name, `${JSON.stringify(error.issues)} in ${text}`);
    else this.#take(message);
  }

  #take(message: Message): void {
    if (message.type === undefined) this.#takeChange(message);
    else if (message.type === "progress" || message.type === "pong") {
      for (const replica of this.replicas) replica.advance(message.position as string);
      if (message.type === "pong") this.pong = message.position as string;
    } else {
      // Of a subscription that was ended, what was on its way may still come, until `unsubscribed`.
      const replica = this.#byId.get(String(message.id));
      if (replica !== undefined) this.#takeAbout(replica, message);
    }
  }

  #takeAbout(replica: Replica, message: Message): void {
    const { findings, sight } = this.#options;
    if (message.type === "snapshot") {
      replica.takeSnapshot(message.data as Row[]);
      for (const row of message.data as Row[]) sight.inView(replica.who, replica.wanted, row);
    } else if (message.type === "ready") {
      replica.takeReady(message);
      this.#chains.begin(message.view as string);
    } else if (message.type === "reset") {
      findings.tell(`${replica.who} is reset: ${message.reason}`);
      replica.takeReset(message.reason as string);
    } else if (message.type === "error") this.#takeError(message, replica);
  }

  #takeChange(message: Message): void {
    const { sight, findings, places } = this.#options;
    const ofView = this.replicas.filter((replica) => replica.view === message.view);
    const isShared = ofView.length > 1;
    const broken = isShared ? undefined : this.#chains.follow(message);
    if (broken !== undefined) findings.add("gap", `${this.name} ${message.interface}`, broken);
    for (const [id, replica] of [...this.#byId]) {
      if (replica.view !== message.view) continue;
      places.look(`${replica.who} of ${this.gateway.name}`, replica.wanted, message);
      if (message.operation === "delete") {
        for (const each of message.data as string[]) sight.outOfView(replica.who, replica.wanted, each);
      } else sight.inView(replica.who, replica.wanted, message.data as Row);
      if (!replica.takeChange(message, isShared)) this.#renew(id, replica, false);
    }
  }

  #takeError(message: Message, replica: Replica): void {
    const { findings, random } = this.#options;
    const id = String(message.id);
    if (message.status !== 503) findings.add("error", replica.who, JSON.stringify(message));
    else findings.tell(`${replica.who}: ${message.code}`);
    replica.disconnected();
    this.#byId.delete(id);
    const connection = this.#client;
    void sleep(200 + random.below(800)).then(() => {
      if (this.#client === connection && connection !== undefined) this.#subscribe(replica);
    });
  }
}
