import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { BSON, type Document } from "mongodb";

const opMsg = 2013;
const headerBytes = 16;
/** Between the header and the first section: four bytes of flags and one that says of which kind the section is. */
const bodyAt = headerBytes + 5;

/**
 * Finds the commands in what a driver sends to a server (OP_MSG; the first message of a connection, which may be older, is
 * stepped over). Bytes may be cut anywhere.
 */
export class CommandReader {
  readonly #command: (command: Document) => void;
  #pending: Buffer = Buffer.alloc(0);

  constructor(command: (command: Document) => void) {
    this.#command = command;
  }

  feed(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= headerBytes) {
      const length = this.#pending.readInt32LE(0);
      if (this.#pending.length < length) return;
      const message = this.#pending.subarray(0, length);
      this.#pending = this.#pending.subarray(length);
      if (message.readInt32LE(12) !== opMsg) continue;
      const bodyLength = message.readInt32LE(bodyAt);
      this.#command(BSON.deserialize(message.subarray(bodyAt, bodyAt + bodyLength)));
    }
  }
}

/** @returns a name to count the command under, such as `find items`, `listCollections`, or for a change stream `$changeStream` */
export function commandName(command: Document): string {
  const [name = "", collection] = Object.entries(command)[0] ?? [];
  if (name === "aggregate" && command.pipeline?.[0]?.$changeStream !== undefined) return "$changeStream";
  return typeof collection === "string" ? `${name} ${collection}` : name;
}

export interface CountingProxy {
  /** The same URI, by way of the proxy. */
  readonly uri: string;
  /** How often each command passed since the last time this was asked. */
  counts(): Record<string, number>;
  stop(): Promise<void>;
}

/**
 * Stands between a program and its database and counts the commands that pass, so that what a server does need not be
 * believed.
 *
 * @param uri - with one host and without TLS
 * @throws Error for any other
 */
export async function startCountingProxy(uri: string): Promise<CountingProxy> {
  const { host, port } = targetOf(uri);
  let counts: Record<string, number> = {};
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect(port, host);
    const reader = new CommandReader((command) => {
      const name = commandName(command);
      counts[name] = (counts[name] ?? 0) + 1;
    });
    const end = () => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      sockets.add(socket.setNoDelay(true));
      socket.on("error", end).on("close", () => {
        sockets.delete(socket);
        end();
      });
    }
    near.on("data", (chunk: Buffer) => reader.feed(chunk));
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    uri: throughProxy(uri, (server.address() as AddressInfo).port),
    counts() {
      const counted = counts;
      counts = {};
      return counted;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const oneHost = /^(mongodb:\/\/(?:[^@/]*@)?)([^:,/?]+)(?::(\d+))?(\/[^?]*)?(?:\?(.*))?$/;

function targetOf(uri: string): { host: string; port: number } {
  const [, , host, port] = oneHost.exec(uri) ?? [];
  if (host === undefined) throw new Error("reads can't be counted: MONGODB_URI does not name one host alone");
  return { host, port: Number(port ?? 27017) };
}

/** With a direct connection the driver stays with the proxy, whatever the server says of its set. */
function throughProxy(uri: string, port: number): string {
  const [, start, , , path = "/", query = ""] = oneHost.exec(uri) ?? [];
  const options = new URLSearchParams(query);
  options.delete("replicaSet");
  options.set("directConnection", "true");
  return `${start}127.0.0.1:${port}${path}?${options}`;
}
