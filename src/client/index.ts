/** The library for browsers and Node: `tailgate/client`. It depends on nothing. */

import { Connection } from "./connection.js";
import type { Client, ConnectOptions } from "./types.js";

export { ClientError } from "./error.js";
export type {
  Change,
  Client,
  ClientState,
  ConnectOptions,
  Copy,
  Doc,
  Live,
  LiveOptions,
  LiveState,
  LiveUpdate,
  Query,
  Reset,
  Token,
  WebSocketClass,
  WebSocketLike,
} from "./types.js";

/**
 * Opens a connection to a gateway, and opens it again whenever it is lost, until it is closed or the gateway refuses it.
 *
 * @param url - of the gateway's websocket, such as `wss://app.example.com/ws`; in a page a path such as `/ws` does
 * @throws TypeError where the URL is none, or this runtime has no WebSocket and none is given
 */
export function connect(url: string | URL, options: ConnectOptions = {}): Client {
  return new Connection(url, options);
}
