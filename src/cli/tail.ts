import { type Command, InvalidArgumentError } from "commander";
import { loadSettings } from "../config/load.js";
import { exitCodes } from "../errors.js";
import { websocketPath } from "../message.js";
import { note } from "./failure.js";
import { follow } from "./follow.js";
import { createLines } from "./lines.js";
import { createPlain, createSubscriptions } from "./modes.js";

interface TailFlags {
  readonly url?: URL;
  readonly filter?: Record<string, unknown>;
  readonly since?: string;
  readonly token?: string;
}

export function addTail(program: Command): void {
  program
    .command("tail")
    .description("print messages as they come, one JSON line each")
    .argument("<interface...>", "the interfaces to follow")
    .option("--url <address>", "the gateway's websocket (default: ws://HOST:PORT/ws of the settings)", websocketUrl)
    .option("--filter <json>", "only documents that match; needs a gateway that speaks tailgate.v1", filterDocument)
    .option("--since <position>", "continue after this position; needs a gateway that speaks tailgate.v1")
    .option("--token <token>", "who you are, to the gateway")
    .action(tail);
}

async function tail(named: string[], flags: TailFlags): Promise<void> {
  const interfaces = [...new Set(named.flatMap((name) => name.split(",")))];
  const url = flags.url ?? (await defaultUrl());
  const ending = new AbortController();
  const onSignal = (): void => {
    if (ending.signal.aborted) process.exit(exitCodes.ok);
    ending.abort();
  };
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  let outputError: Error | undefined;
  const lines = createLines(process.stdout, (error) => {
    outputError = error;
    ending.abort();
  });
  const { filter, since, token } = flags;
  const mode =
    filter === undefined && since === undefined
      ? createPlain(interfaces)
      : createSubscriptions(interfaces, { filter, since, note });
  await follow({ url, token, mode, lines, note, signal: ending.signal });
  if (outputError !== undefined) throw outputError;
  // What a reader has not taken yet is not waited for: the person has asked to end, or the reader is gone.
  process.exit(exitCodes.ok);
}

async function defaultUrl(): Promise<URL> {
  const { host, port } = await loadSettings();
  // An address to listen on everywhere is none to connect to.
  const name = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "[::1]" : host.includes(":") ? `[${host}]` : host;
  return new URL(`ws://${name}:${port}${websocketPath}`);
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function websocketUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["ws:", "wss:"].includes(url.protocol)) {
    throw new InvalidArgumentError("It is a websocket address, such as ws://127.0.0.1:8080/ws.");
  }
  if (url.username !== "" || url.password !== "") {
    throw new InvalidArgumentError("User and password have no place in it: --token says who you are.");
  }
  if (url.pathname === "/") url.pathname = websocketPath;
  url.hash = "";
  return url;
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function filterDocument(text: string): Record<string, unknown> {
  try {
    const filter: unknown = JSON.parse(text);
    if (typeof filter === "object" && filter !== null && !Array.isArray(filter)) {
      return filter as Record<string, unknown>;
    }
  } catch {
    // Not JSON at all: the same advice holds as for JSON that is no object.
  }
  throw new InvalidArgumentError(`It is a filter in JSON, such as '{"state":"running"}'.`);
}
