import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { App, type HttpResponse, type us_listen_socket, us_listen_socket_close } from "./uws.js";

/** How long the anchor may take to be cast, in milliseconds. It is on this machine. */
const castMilliseconds = 5_000;

/**
 * Upgrades that come later than their request, when a token has been verified or a view has been read, have to be made
 * outside of the cork of their own response. `HttpResponse::cork` of uWebSockets looks at the response after its callback,
 * although an upgrade has made a websocket of that memory; where the memory stayed in its place, it takes what it finds there
 * for the state of the response, and now and then closes the new websocket without a word (seen in one of 10,000 to 20,000
 * connections, and in more of the first ones of a process). Outside of any cork the binary prints a warning for each.
 *
 * While another socket is corked, nothing else can be. So one response that never ends is kept for its cork: of a request of
 * this process to itself, over a unix socket that only its user may open.
 */
export interface Anchor {
  start(): Promise<void>;
  /** Runs the work while the anchor is corked; just so where there is none. */
  corked(work: () => void): void;
  stop(): Promise<void>;
}

export function createAnchor(): Anchor {
  let response: HttpResponse | undefined;
  let listening: us_listen_socket | undefined;
  let socket: Socket | undefined;
  let folder: string | undefined;
  const app = App();

  async function cast(path: string): Promise<void> {
    const held = new Promise<void>((resolve) => {
      app.any("/*", (res) => {
        response = res;
        res.onAborted(() => {
          response = undefined;
        });
        resolve();
      });
    });
    await new Promise<void>((resolve, reject) => {
      app.listen_unix((token) => {
        if (token) {
          listening = token;
          resolve();
        } else reject(new Error(`can't listen on ${path}`));
      }, path);
    });
    socket = connect({ path });
    socket.unref();
    // Its end shows in `onAborted`.
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nHost: anchor\r\n\r\n");
    await Promise.race([held, new Promise((resolve) => setTimeout(resolve, castMilliseconds).unref())]);
    us_listen_socket_close(listening as us_listen_socket);
  }

  return {
    async start() {
      // Without unix sockets there is the warning, and nothing worse.
      if (process.platform === "win32") return;
      folder = await mkdtemp(join(tmpdir(), "tailgate-anchor-"));
      await cast(join(folder, "anchor.sock"));
    },
    corked(work) {
      if (response === undefined) work();
      else response.cork(work);
    },
    async stop() {
      socket?.destroy();
      app.close();
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}
