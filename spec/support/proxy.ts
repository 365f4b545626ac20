import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Transform } from "node:stream";

export interface Proxy {
  readonly port: number;
  /** Connections that pass through it now. */
  readonly connections: number;
  /** Cuts every connection with a reset; new ones are accepted. */
  cut(): void;
  /** From now on nothing passes, in either direction, and nobody is told: a pulled cable. */
  blackhole(): void;
  /** Lets everything pass again, for connections made from now on. */
  heal(): void;
  close(): Promise<void>;
}

/**
 * A TCP proxy that stands between a client and a server and fails as networks do.
 *
 * @param tap.sent - is shown what clients send, and may hold it back for a while
 * @param tap.answered - gets what the server answers, and gives what clients are to get instead, perhaps later
 */
export async function startProxy(
  target: { host?: string; port: number },
  tap: { sent?: (chunk: Buffer) => unknown; answered?: (chunk: Buffer) => Buffer | Promise<Buffer> } = {},
): Promise<Proxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let dark = false;
  const server = createServer((near) => {
    const far = connect(target.port, target.host ?? "127.0.0.1");
    const pair = [near, far] as const;
    pairs.add(pair);
    const end = (): void => {
      near.destroy();
      far.destroy();
      pairs.delete(pair);
    };
    near.on("error", end).on("close", end);
    far.on("error", end).on("close", end);
    if (dark) return;
    const { sent, answered } = tap;
    const tapped = (see: (chunk: Buffer) => unknown) =>
      new Transform({
        transform: (chunk, _encoding, done) => void Promise.resolve(see(chunk)).then((seen) => done(null, seen)),
      });
    if (sent === undefined) near.pipe(far);
    else near.pipe(tapped((chunk) => Promise.resolve(sent(chunk)).then(() => chunk))).pipe(far);
    if (answered === undefined) far.pipe(near);
    else far.pipe(tapped(answered)).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return pairs.size;
    },
    cut() {
      for (const [near, far] of pairs) {
        near.resetAndDestroy();
        far.resetAndDestroy();
      }
    },
    blackhole() {
      dark = true;
      for (const [near, far] of pairs) {
        near.unpipe();
        far.unpipe();
        near.pause();
        far.pause();
      }
    },
    heal() {
      dark = false;
    },
    async close() {
      for (const [near, far] of pairs) {
        near.destroy();
        far.destroy();
      }
      server.close();
    },
  };
}
