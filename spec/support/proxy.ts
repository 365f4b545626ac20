import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

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
 * @param tap.sent - is shown what clients send
 * @param tap.answered - gets what the server answers, and gives what clients are to get instead
 */
export async function startProxy(
  target: { host?: string; port: number },
  tap: { sent?: (chunk: Buffer) => void; answered?: (chunk: Buffer) => Buffer } = {},
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
    if (sent !== undefined) near.on("data", sent);
    near.pipe(far);
    if (answered === undefined) far.pipe(near);
    else far.on("data", (chunk) => near.write(answered(chunk)));
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
        near.unpipe(far);
        far.unpipe(near);
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
