import { setTimeout as sleep } from "node:timers/promises";
import { plainMessage } from "../../src/sockets/protocol.js";
import { connectClient, type TestClient } from "../support/client.js";
import type { GatewayProcess } from "./gateways.js";
import type { ClientOptions } from "./member.js";
import type { Message, Row } from "./replica.js";
import type { Wanted } from "./views.js";

export interface PlainMemberOptions extends ClientOptions {
  readonly headers: Record<string, string>;
}

/** A plain client that holds a copy of one interface: it connects, fetches, and applies what has come since (P5). */
export class PlainMember {
  readonly name: string;
  readonly wanted: Wanted;
  readonly rows = new Map<string, Row>();
  gateway: GatewayProcess;
  /** It has fetched: from then on its rows are a copy. */
  isReady = false;
  changes = 0;
  readonly #options: PlainMemberOptions;
  readonly #ending = new AbortController();
  #client: TestClient | undefined;
  #isLeaving = false;
  #waiting: Message[] = [];
  readonly #running: Promise<void>;

  constructor(options: PlainMemberOptions, wanted: Wanted, gateway: GatewayProcess) {
    this.#options = options;
    this.name = `${options.name} ${wanted.interface}`;
    this.wanted = wanted;
    this.gateway = gateway;
    this.#running = this.#run();
  }

  leave(to: GatewayProcess): void {
    this.gateway = to;
    this.#isLeaving = true;
    this.#client?.socket.close();
  }

  async close(): Promise<void> {
    this.#isLeaving = true;
    this.#ending.abort();
    await this.#client?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await this.#connect();
      const pause = 50 + this.#options.random.below(300);
      await sleep(pause, undefined, { signal: this.#ending.signal }).catch(() => undefined);
    }
  }

  async #connect(): Promise<void> {
    const { gateway, wanted } = this;
    const { endings, isUp: wasUp } = gateway;
    const openedAt = performance.now();
    this.isReady = false;
    this.#isLeaving = false;
    this.#waiting = [];
    const client = await connectClient(`${gateway.websocketUrl}?interfaces=${wanted.interface}`, {
      headers: this.#options.headers,
      heard: (text) => this.#hear(text),
    });
    if (client.socket.readyState === client.socket.OPEN && !this.#ending.signal.aborted) {
      this.#client = client;
      if (!(await this.#fetch(gateway))) client.socket.close();
    } else client.socket.close();
    const { code, reason } = await client.closed;
    this.#client = undefined;
    const wasReady = this.isReady;
    this.isReady = false;
    const wasEnded = !wasUp || !gateway.isUp || gateway.endings > endings;
    if (this.#isLeaving || this.#ending.signal.aborted || !wasReady) return;
    if ((code === 1006 || code === 1001) && wasEnded) return;
    if (code === 4510 && (this.#options.dropped(wanted.collection, openedAt) || this.#mayNotKnow)) return;
    this.#options.findings.add("close", this.name, `closed with ${code} ${reason}`);
  }

  get #mayNotKnow(): boolean {
    return this.wanted.collection === "blind" && this.wanted.isFiltered;
  }

  /** @returns false where the rows can't be had now */
  async #fetch(gateway: GatewayProcess): Promise<boolean> {
    const { findings, sight, headers } = this.#options;
    this.rows.clear();
    let next: string | null = "";
    while (next !== null) {
      const cursor: string = next === "" ? "" : `&cursor=${encodeURIComponent(next)}`;
      let response: Response;
      let text: string;
      try {
        response = await fetch(`${gateway.url}/api/${this.wanted.interface}?limit=500${cursor}`, { headers });
        text = await response.text();
      } catch {
        // The gateway is gone: so is the connection.
        return false;
      }
      sight.look(this.name, text);
      if (!response.ok) {
        if (response.status !== 503) findings.add("error", this.name, `${response.status} ${text}`);
        return false;
      }
      const page = JSON.parse(text) as { data: Row[]; next: string | null };
      for (const row of page.data) {
        this.rows.set(row.id, row);
        sight.inView(this.name, this.wanted, row);
      }
      next = page.next;
    }
    this.isReady = true;
    for (const message of this.#waiting.splice(0)) this.#apply(message);
    return true;
  }

  #hear(text: string): void {
    const { findings, sight } = this.#options;
    sight.look(this.name, text);
    const message = JSON.parse(text) as Message;
    const { error } = plainMessage.safeParse(message);
    if (error !== undefined) findings.add("protocol", this.name, `${JSON.stringify(error.issues)} in ${text}`);
    else if (this.isReady) this.#apply(message);
    else this.#waiting.push(message);
  }

  #apply(message: Message): void {
    const { sight } = this.#options;
    this.changes += 1;
    if (message.operation === "delete") {
      for (const id of message.data as string[]) {
        sight.outOfView(this.name, this.wanted, id);
        this.rows.delete(id);
      }
      return;
    }
    const row = message.data as Row;
    sight.inView(this.name, this.wanted, row);
    this.rows.set(row.id, row);
  }
}
