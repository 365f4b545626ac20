import { setTimeout as sleep } from "node:timers/promises";
import { serverMessage } from "../../src/sockets/protocol.js";
import { connectClient, type TestClient } from "../support/client.js";
import { Chains } from "./chain.js";
import { Circumstances } from "./circumstances.js";
import type { Findings } from "./findings.js";
import type { GatewayProcess } from "./gateways.js";
import type { Identity } from "./identity.js";
import type { Places } from "./places.js";
import type { Random } from "./random.js";
import { type Beginning, type Message, Replica, type Row } from "./replica.js";
import type { Sight } from "./sight.js";
import type { Wanted } from "./views.js";

/** What clients of both modes need. */
export interface ClientOptions {
  readonly name: string;
  readonly sight: Sight;
  readonly findings: Findings;
  readonly random: Random;
  /** Whether the collection was dropped after that moment. */
  dropped(collection: string, since: number): boolean;
}

export interface MemberOptions extends ClientOptions {
  readonly wanted: readonly Wanted[];
  readonly identity: Identity;
  readonly places: Places;
  /** Whether there is more to read than the run may keep up with. */
  readonly readsMuch: boolean;
}

/** A client of `tailgate.v1` with some subscriptions, which comes back whenever it is cut off. */
export class Member {
  readonly replicas: readonly Replica[];
  readonly name: string;
  gateway: GatewayProcess;
  /** The latest answer to a ping, on this connection. */
  pong = "";
  readonly #options: MemberOptions;
  readonly #ending = new AbortController();
  readonly #settling = new AbortController();
  #client: TestClient | undefined;
  #circumstances: Circumstances | undefined;
  #chains = new Chains();
  /** Subscriptions by their `id` on this connection. */
  readonly #byId = new Map<string, Replica>();
  #subscriptions = 0;
  #isStalled = false;
  /** How long it dozes when it has come back. */
  #dozesFor = 0;
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
    const { identity } = this.#options;
    return this.#client !== undefined && !identity.isRenewing && this.replicas.every((replica) => replica.isReady);
  }

  /** What a subscription of it is of, by the claims that it has last told of. */
  wantedOf(replica: Replica): Wanted {
    return replica.wanted.as(this.#options.identity.user);
  }

  /** Goes away, and comes back after a while, perhaps to another gateway. */
  leave(milliseconds: number, to = this.gateway): void {
    this.gateway = to;
    this.#away = this.#idle(milliseconds);
    if (this.#circumstances !== undefined) this.#circumstances.isLeaving = true;
    const socket = this.#client?.socket;
    // Half of them vanish without a word.
    if (this.#options.random.chance(0.5)) socket?.terminate();
    else socket?.close();
  }

  /** Goes away, comes back, and stops reading while it is told what it missed; not before there is something to miss. */
  leaveAndDoze(milliseconds: number, to: GatewayProcess): void {
    if (this.#isStalled || !this.replicas.some(({ isReady }) => isReady)) return;
    this.#dozesFor = milliseconds;
    this.leave(milliseconds, to);
  }

  /** Stops reading for a while. */
  async stall(milliseconds: number): Promise<void> {
    const socket = this.#client?.socket;
    if (this.#isStalled || socket === undefined || socket.readyState !== socket.OPEN) return;
    this.#isStalled = true;
    if (this.#circumstances !== undefined) this.#circumstances.wasStalled = true;
    socket.pause();
    await this.#idle(milliseconds);
    // Also where it is closing: else it would not hear that it may.
    socket.resume();
    this.#isStalled = false;
  }

  /** Ends one subscription and makes it again at once, with what it holds or from nothing. */
  renew(beginning: Beginning | "as it is"): void {
    if (this.#client === undefined) return;
    const [id, replica] = this.#options.random.pick([...this.#byId]) ?? [];
    if (id === undefined || replica === undefined || !replica.isReady) return;
    if (beginning !== "as it is") replica.forget(beginning);
    this.#renew(id, replica);
  }

  /** Ends one subscription and makes it again after a while, unless the connection is another by then. */
  async rest(milliseconds: number): Promise<void> {
    const ready = [...this.#byId].filter(([, replica]) => replica.isReady);
    if (!this.#isStalled) await this.#rest(milliseconds, ready);
  }

  /** Renews its token in place. */
  async authenticate(changesClaims: boolean): Promise<void> {
    const { identity, random } = this.#options;
    const connection = this.#client;
    const renewal = await identity.renewal(changesClaims, random);
    if (renewal === undefined || this.#client !== connection || connection === undefined || identity.isRenewing) return;
    renewal.sent();
    this.#send({ type: "authenticate", token: renewal.token });
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

  /** From now on it does nothing more by itself, and what it was about to do it does at once. */
  settle(): void {
    this.#settling.abort();
  }

  async #rest(milliseconds: number, choices: readonly [string, Replica][]): Promise<void> {
    const { random } = this.#options;
    const connection = this.#client;
    const [id, replica] = random.pick(choices) ?? [];
    if (connection === undefined || id === undefined || replica === undefined) return;
    this.#unsubscribe(id, replica);
    await this.#idle(milliseconds);
    if (this.#client !== connection) return;
    this.#subscribe(replica);
    if (random.chance(0.7)) await this.#doze(milliseconds);
  }

  /** Stops reading what it has just asked for; meanwhile it may think better of some of that, and then it may go. */
  async #doze(milliseconds: number): Promise<void> {
    const { random } = this.#options;
    const connection = this.#client;
    if (this.#isStalled || connection === undefined || this.#settling.signal.aborted) return;
    const stalled = this.stall(milliseconds);
    await this.#idle(milliseconds / 2);
    if (this.#client === connection && !this.#settling.signal.aborted) {
      const asked = [...this.#byId].filter(([, replica]) => !replica.isReady);
      if (random.chance(0.5)) void this.#rest(milliseconds, asked);
      if (random.chance(0.4)) this.leave(random.below(milliseconds));
    }
    await stalled;
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await this.#connect();
      // Much sooner than a client should: here the crowd is wanted.
      await this.#pause(20 + this.#options.random.below(300));
      await this.#away;
    }
  }

  async #connect(): Promise<void> {
    const { identity, random, readsMuch } = this.#options;
    const circumstances = new Circumstances(this.gateway, readsMuch);
    this.#circumstances = circumstances;
    this.#chains = new Chains();
    this.#byId.clear();
    this.pong = "";
    identity.connecting();
    const early: string[] = [];
    let hear = (text: string): void => void early.push(text);
    const client = await connectClient(this.gateway.websocketUrl, {
      protocols: ["tailgate.v1"],
      headers: identity.headers,
      heard: (text) => hear(text),
    });
    if (client.socket.readyState === client.socket.OPEN && !this.#ending.signal.aborted) {
      this.#client = client;
      hear = (text) => this.#hear(text);
      for (const text of early) this.#hear(text);
      // Some of what it is told then is rows.
      if (this.#dozesFor > 0 && random.chance(0.3)) random.pick(this.replicas).forget("with rows");
      for (const replica of this.replicas) this.#subscribe(replica);
      if (this.#dozesFor > 0) void this.#doze(this.#dozesFor);
      this.#dozesFor = 0;
    } else client.socket.close();
    const { code, reason } = await client.closed;
    this.#client = undefined;
    for (const replica of this.replicas) replica.disconnected();
    this.#checkClose(circumstances, code, reason);
  }

  #checkClose(circumstances: Circumstances, code: number, reason: string): void {
    const { findings } = this.#options;
    if (this.#ending.signal.aborted || circumstances.explain(code)) return;
    findings.add("close", this.name, `closed with ${code} ${reason}`);
  }

  #subscribe(replica: Replica): void {
    const id = `${this.replicas.indexOf(replica)}-${++this.#subscriptions}`;
    this.#byId.set(id, replica);
    this.#options.findings.tell(`${replica.who} subscribes as ${id} at ${replica.position}`);
    this.#send(replica.subscription(id, this.wantedOf(replica)));
  }

  #unsubscribe(id: string, replica: Replica): void {
    this.#byId.delete(id);
    replica.isReady = false;
    this.#options.findings.tell(`${replica.who} unsubscribes ${id} at ${replica.position}`);
    this.#send({ type: "unsubscribe", id });
  }

  #renew(id: string, replica: Replica): void {
    this.#unsubscribe(id, replica);
    this.#subscribe(replica);
  }

  /** What it does by itself takes this long. */
  #idle(milliseconds: number): Promise<unknown> {
    const signal = AbortSignal.any([this.#ending.signal, this.#settling.signal]);
    return sleep(milliseconds, undefined, { signal }).catch(() => undefined);
  }

  #pause(milliseconds: number): Promise<unknown> {
    return sleep(milliseconds, undefined, { signal: this.#ending.signal }).catch(() => undefined);
  }

  #send(message: object): void {
    const socket = this.#client?.socket;
    if (socket?.readyState === socket?.OPEN) socket?.send(JSON.stringify(message));
  }

  #hear(text: string): void {
    const { findings, identity } = this.#options;
    identity.look(this.name, text);
    const message = JSON.parse(text) as Message;
    const { error } = serverMessage.safeParse(message);
    if (error !== undefined) findings.add("protocol", this.name, `${JSON.stringify(error.issues)} in ${text}`);
    else this.#take(message);
  }

  #take(message: Message): void {
    if (message.type === undefined) this.#takeChange(message);
    else if (message.type === "welcome") this.#options.identity.welcomed();
    else if (message.type === "progress" || message.type === "pong") {
      for (const replica of this.replicas) replica.advance(message.position as string);
      if (message.type === "pong") this.pong = message.position as string;
    } else {
      // Of a subscription that was ended, what was on its way may still come, until `unsubscribed`, and what it missed with it.
      if (message.type === "ready") this.#chains.begin(message.view as string);
      const replica = this.#byId.get(String(message.id));
      if (replica !== undefined) this.#takeAbout(replica, message);
    }
  }

  #takeAbout(replica: Replica, message: Message): void {
    const { findings, sight } = this.#options;
    if (message.type === "snapshot") {
      replica.takeSnapshot(message.data as Row[]);
      for (const row of message.data as Row[]) sight.inView(replica.who, replica.wanted, row);
    } else if (message.type === "ready") replica.takeReady(message);
    else if (message.type === "reset") {
      findings.tell(`${replica.who} is reset: ${message.reason}`);
      const { asked } = replica.wanted;
      const isTwin = (other: Replica): boolean => other !== replica && other.wanted.asked === asked;
      const isBesideRows = this.replicas.some((other) => isTwin(other) && other.wasWithRows);
      const wanted = replica.wanted.as(this.#options.identity.settled);
      replica.takeReset(message.reason as string, { wanted, isBesideRows });
    } else if (message.type === "error") this.#takeError(message, replica);
  }

  #takeChange(message: Message): void {
    const { sight, findings, places } = this.#options;
    const { asked } = this.replicas.find((replica) => replica.view === message.view)?.wanted ?? {};
    // One that has not been ready yet does not know its view, and has it all the same.
    const isShared = this.replicas.filter((replica) => replica.wanted.asked === asked).length > 1;
    const broken = isShared ? undefined : this.#chains.follow(message);
    if (broken !== undefined) findings.add("gap", `${this.name} ${message.interface}`, broken);
    for (const [id, replica] of [...this.#byId]) {
      if (replica.view !== message.view) continue;
      places.look(`${replica.who} of ${this.gateway.name}`, replica.wanted, message);
      if (message.operation === "delete") {
        for (const each of message.data as string[]) sight.outOfView(replica.who, replica.wanted, each);
      } else sight.inView(replica.who, replica.wanted, message.data as Row);
      if (!replica.takeChange(message, isShared)) this.#renew(id, replica);
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
