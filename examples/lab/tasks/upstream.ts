import type { HttpClient } from "tailgate";
import { LabError } from "../data-folder.js";

/** Waits that a server asks for are kept up to here; for a longer one the task fails and says when to come back. */
const maxPatienceSeconds = 10;

/**
 * Asks another server for JSON, through the gateway's own client, which tries again where that can help.
 *
 * @param from.server - its name, for messages
 * @param from.missing - what to say where the answer is 404
 * @throws LabError `not-found`, `rate-limited`, `upstream-failed`, `upstream-timeout`, `upstream-unreachable` or
 *   `upstream-answer`, or the signal's reason
 */
export async function askForJson(
  http: HttpClient,
  url: string,
  from: {
    server: string;
    missing: string;
    signal: AbortSignal;
    headers?: Record<string, string>;
    searchParams?: Record<string, string>;
  },
): Promise<unknown> {
  const { server, missing, ...options } = from;
  let text: string;
  try {
    const response = await http.get(url, {
      ...options,
      retry: { shouldRetry: ({ error }) => (secondsToWait(error) > maxPatienceSeconds ? false : undefined) },
    });
    text = await response.text();
  } catch (error) {
    options.signal.throwIfAborted();
    throw explained(error, server, missing);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LabError("upstream-answer", `${server} answered with something that is not JSON`, { cause: error });
  }
}

/** The client's errors, told apart by their names as its documentation says. */
interface HttpError extends Error {
  readonly response: Response;
  readonly data?: unknown;
}

function explained(error: unknown, server: string, missing: string): unknown {
  const why = { cause: error };
  if (isHttpError(error)) {
    const { status } = error.response;
    if (status === 404) return new LabError("not-found", missing, why);
    if (isRateLimit(error)) return new LabError("rate-limited", `${server} takes no more requests ${when(error)}`, why);
    return new LabError("upstream-failed", `${server} answered ${status}${messageOf(error.data)}`, why);
  }
  const name = error instanceof Error ? error.name : "";
  if (name === "TimeoutError") return new LabError("upstream-timeout", `${server} did not answer in time`, why);
  if (name === "NetworkError") return new LabError("upstream-unreachable", `${server} can't be reached`, why);
  return error;
}

function isHttpError(error: unknown): error is HttpError {
  return error instanceof Error && error.name === "HTTPError" && "response" in error;
}

/** GitHub answers 403 as often as 429: https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api */
function isRateLimit({ response }: HttpError): boolean {
  if (response.status === 429) return true;
  const { headers } = response;
  return response.status === 403 && (headers.has("retry-after") || headers.get("x-ratelimit-remaining") === "0");
}

/** @returns what a rate limit asks for, 0 where it asks for nothing */
function secondsToWait(error: unknown): number {
  if (!isHttpError(error) || !isRateLimit(error)) return 0;
  const { headers } = error.response;
  const after = Number(headers.get("retry-after") ?? Number.NaN);
  if (Number.isFinite(after)) return after;
  const reset = Number(headers.get("x-ratelimit-reset") ?? Number.NaN);
  return Number.isFinite(reset) ? Math.max(0, reset - Date.now() / 1_000) : 0;
}

function when(error: HttpError): string {
  const seconds = secondsToWait(error);
  if (seconds === 0) return "for now; try again in a minute";
  const time = new Date(Date.now() + seconds * 1_000).toISOString().slice(11, 19);
  return `before ${time} UTC`;
}

function messageOf(data: unknown): string {
  const { message, error } = (typeof data === "object" && data !== null ? data : {}) as Record<string, unknown>;
  const text = typeof message === "string" ? message : error;
  return typeof text === "string" ? `: ${text.slice(0, 200)}` : "";
}
