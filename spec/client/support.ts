import { connect } from "../../src/client/node.js";
import type { Client, ClientState, ConnectOptions, Doc, Live, LiveUpdate } from "../../src/client/types.js";

const clients: Client[] = [];

/** A client that is closed after the spec by `closeClients`. */
export function open(url: string, options?: ConnectOptions): Client {
  const client = connect(url, options);
  clients.push(client);
  return client;
}

export function closeClients(): void {
  for (const client of clients.splice(0)) client.close();
}

/** What a listener was told so far. */
export function heard<Row extends Doc>(live: Live<Row>): LiveUpdate<Row>[] {
  const updates: LiveUpdate<Row>[] = [];
  live.subscribe((update) => updates.push(update));
  return updates;
}

/** Resolves when the documents, or whatever else an update says, are as wished. */
export function until<Row extends Doc>(
  live: Live<Row>,
  condition: (update: LiveUpdate<Row>) => boolean,
  timeoutMilliseconds = 20_000,
): Promise<LiveUpdate<Row>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const rows = JSON.stringify(live.docs.slice(-5));
      reject(new Error(`not in ${timeoutMilliseconds} ms; ${live.state} ${live.error} ${live.docs.length}: ${rows}`));
    }, timeoutMilliseconds);
    let leave: (() => void) | undefined;
    let found: LiveUpdate<Row> | undefined;
    const look = (update: LiveUpdate<Row>): void => {
      if (found !== undefined || !condition(update)) return;
      found = update;
      clearTimeout(timer);
      leave?.();
      resolve(update);
    };
    leave = live.subscribe(look);
    if (found !== undefined) leave();
  });
}

export async function becomes(client: Client, state: ClientState, timeoutMilliseconds = 20_000): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let leave = (): void => undefined;
  await new Promise<void>((resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`not ${state} in ${timeoutMilliseconds} ms, but ${client.state}: ${client.error}`));
    }, timeoutMilliseconds);
    leave = client.subscribe(() => {
      if (client.state === state) resolve();
    });
  });
  clearTimeout(timer);
  leave();
}
