/** `tailgate/client` as Node gets it: releases before 22 have no WebSocket of their own. */

import WebSocket from "ws";
import { connect as connectWith } from "./index.js";
import type { Client, ConnectOptions } from "./types.js";

export * from "./index.js";

/** As in a browser, but that a WebSocket is always there. */
export function connect(url: string | URL, options: ConnectOptions = {}): Client {
  // Also where there is one: that of `ws` can be ended when nobody answers.
  return connectWith(url, { ...options, WebSocket: options.WebSocket ?? WebSocket });
}
