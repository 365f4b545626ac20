import type * as binary from "uWebSockets.js";
import { createRequire } from "node:module";

export type {
  CompressOptions,
  HttpRequest,
  HttpResponse,
  ListenOptions,
  RecognizedString,
  TemplatedApp,
  us_listen_socket,
  us_socket_context_t,
  WebSocket,
  WebSocketBehavior,
} from "uWebSockets.js";

/**
 * The longest head of a request that may come in several pieces, in bytes: a longer one is answered by the binary, with a
 * bare 431. One that comes in one piece is handed over whatever its length, and the server behind the front refuses it. The
 * binary's own default of 4 KB is less than a token and a filter together need.
 */
export const maxHeadBytes = 16_384;

// The binary reads this once, with getenv, while it is loaded. Static imports run before any statement, hence require;
// and hence every other module imports from here.
process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(maxHeadBytes);
const uws = createRequire(import.meta.url)("uWebSockets.js") as typeof binary;

export const {
  App,
  SSLApp,
  DISABLED,
  SHARED_COMPRESSOR,
  SHARED_DECOMPRESSOR,
  DEDICATED_COMPRESSOR_3KB,
  DEDICATED_COMPRESSOR_4KB,
  us_listen_socket_close,
  us_socket_local_port,
} = uws;

/** For `listen`: fail where another process has the port, instead of sharing it in silence. */
export const LIBUS_LISTEN_EXCLUSIVE_PORT = (uws as unknown as { LIBUS_LISTEN_EXCLUSIVE_PORT: binary.ListenOptions })
  .LIBUS_LISTEN_EXCLUSIVE_PORT;
