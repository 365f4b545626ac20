import { closeCodes } from "../message.js";

/** Why a connection, or what was live on it, came to an end. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  /** For programs: the gateway's, or one for each close code that is final. */
  readonly code: string;
  /** As in HTTP, of what the gateway answers. */
  readonly status: number | undefined;
  /** Of the websocket, where that was closed. */
  readonly closeCode: number | undefined;

  constructor(code: string, message: string, more: { status?: number; closeCode?: number; cause?: unknown } = {}) {
    super(message, { cause: more.cause });
    this.code = code;
    this.status = more.status;
    this.closeCode = more.closeCode;
  }
}

/** What a close code calls for (PROTOCOL.md, C12): never again, with another token, or after which kind of wait. */
export type Remedy = "end" | "token" | "soon" | "pause" | "backoff";

const remedies: Readonly<Record<number, Remedy>> = {
  [closeCodes.goingAway]: "soon",
  [closeCodes.malformed]: "end",
  [closeCodes.forbidden]: "end",
  [closeCodes.unknownSubprotocol]: "end",
  [closeCodes.authenticationTimeout]: "pause",
  [closeCodes.tooBig]: "end",
  [closeCodes.tooMany]: "pause",
};

const names: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(closeCodes).map(([name, code]) => [
    code,
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
  ]),
);

/** @param unauthorizedCode - what the gateway closes with for a token that is not good */
export function remedyFor(closeCode: number, unauthorizedCode: number): Remedy {
  return closeCode === unauthorizedCode ? "token" : (remedies[closeCode] ?? "backoff");
}

export function closeError(closeCode: number, reason: string, unauthorizedCode: number): ClientError {
  const code = closeCode === unauthorizedCode ? "unauthorized" : (names[closeCode] ?? "connection-lost");
  return new ClientError(code, reason || `the connection was closed with ${closeCode}`, { closeCode });
}
