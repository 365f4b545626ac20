import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type Agent, createServer, type IncomingMessage, type RequestListener, request, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLog } from "../../src/log.js";
import { createFront, type Front, type FrontOptions } from "../../src/sockets/front.js";
import { App, type us_listen_socket, us_listen_socket_close, us_socket_local_port } from "../../src/sockets/uws.js";

export const peerHeader = "tailgate-peer";

/** A front on a free port, with an HTTP server of the spec's own on a unix socket behind it. */
export interface Rig {
  port: number;
  front: Front;
  server: Server;
  socketPath: string;
  log: Record<string, unknown>[];
  /** Called for each connection that a client opens from now on. */
  onConnection(listener: () => void): void;
  stop(): Promise<void>;
}

export async function startRig(
  listener: RequestListener,
  options: Partial<FrontOptions> & { server?: Server } = {},
): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), "front-"));
  const socketPath = join(folder, "api.sock");
  const server = options.server ?? createServer(listener);
  server.listen(socketPath);
  await once(server, "listening");

  const lines: Record<string, unknown>[] = [];
  const log = createLog("debug", { write: (line: string) => void lines.push(JSON.parse(line)) });
  const { server: _, ...frontOptions } = options;
  const front = createFront({ target: { socketPath }, peerHeader: { name: peerHeader }, log, ...frontOptions });
  const app = App();
  app.any("/*", front.handle);
  const listening = await new Promise<us_listen_socket>((resolve, reject) => {
    app.listen("127.0.0.1", 0, (token) => (token ? resolve(token) : reject(new Error("no port"))));
  });
  return {
    port: us_socket_local_port(listening as never),
    front,
    server,
    socketPath,
    log: lines,
    onConnection(listener) {
      app.filter((_, count) => (count === 1 ? listener() : undefined));
    },
    async stop() {
      us_listen_socket_close(listening);
      await front.stop(AbortSignal.abort());
      app.close();
      server.closeAllConnections();
      if (server.listening) await new Promise((resolve) => server.close(resolve));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  rawHeaders: string[];
  body: Buffer;
}

export interface Ask {
  method?: string;
  path?: string;
  headers?: Record<string, string | string[]>;
  body?: Buffer | string;
  agent?: Agent | false;
}

export async function ask(port: number, options: Ask = {}): Promise<Answer> {
  const { body, ...rest } = options;
  const outgoing = request({ host: "127.0.0.1", port, agent: false, ...rest });
  // `once` reports the first error. Later ones are of a connection that ends while the rest of a body is being sent.
  outgoing.on("error", () => {});
  outgoing.end(body);
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return { ...headOf(response), body: await readAll(response) };
}

export function headOf(response: IncomingMessage): Omit<Answer, "body"> {
  return { status: response.statusCode ?? 0, headers: response.headers, rawHeaders: response.rawHeaders };
}

export async function readAll(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

/** A TCP connection that sends what it is given and keeps what it gets. */
export class RawClient {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (data: Buffer) => {
      this.received = Buffer.concat([this.received, data]);
    });
    socket.on("close", () => {
      this.closed = true;
    });
    // A connection that the other side resets is part of several specs: `closed` tells.
    socket.on("error", () => {});
  }

  static async open(port: number): Promise<RawClient> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new RawClient(socket);
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  get text(): string {
    return this.received.toString("latin1");
  }

  async until(condition: (text: string) => boolean): Promise<string> {
    while (!condition(this.text)) {
      if (this.closed) throw new Error(`closed after: ${this.text}`);
      const done = new AbortController();
      const events = ["data", "close"].map((event) => once(this.socket, event, { signal: done.signal }));
      await Promise.race(events);
      done.abort();
      await Promise.allSettled(events);
    }
    return this.text;
  }

  async untilClosed(): Promise<string> {
    if (!this.closed) await once(this.socket, "close");
    return this.text;
  }
}

/** Waits until a condition holds, looking at it in every turn of the event loop. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}

/** Waits until a figure has stopped to move, and returns it. */
export async function settled(figure: () => number, quietMilliseconds = 400): Promise<number> {
  let last = figure();
  for (let quiet = 0; quiet < quietMilliseconds; quiet += 20) {
    await delay(20);
    if (figure() === last) continue;
    last = figure();
    quiet = 0;
  }
  return last;
}
