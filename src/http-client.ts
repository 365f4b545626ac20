import ky, { type KyInstance } from "ky";
import type { HttpSettings } from "./config/settings.js";
import type { Metrics } from "./metrics.js";

export type HttpClient = KyInstance;

/**
 * Makes the one client for every outgoing request of the process. Its headers, time limit and retries are set here and
 * nowhere else; a caller adds what its request needs by `http.extend` or per request, never by a client of its own.
 *
 * A request is tried again, where its method is idempotent, after a network failure or a status of 408, 413, 429, 500, 502,
 * 503 or 504; a `Retry-After` is honoured. There are two time limits, for one attempt and for all of them with the waits between.
 */
export function createHttpClient(settings: HttpSettings, metrics: Metrics): HttpClient {
  return ky.create({
    headers: { "user-agent": settings.userAgent },
    timeout: settings.timeoutSeconds * 1_000,
    totalTimeout: settings.totalTimeoutSeconds * 1_000,
    retry: { limit: settings.retries, maxRetryAfter: settings.totalTimeoutSeconds * 1_000 },
    fetch: measured(metrics),
  });
}

/** Counts every attempt, for a retry that works hides from its caller that a host is failing. */
function measured(metrics: Metrics): typeof fetch {
  return async (input, init) => {
    const { host } = new URL(input instanceof Request ? input.url : input);
    const end = metrics.httpClientSeconds.startTimer({ host });
    try {
      const response = await fetch(input, init);
      metrics.httpClientRequests.inc({ host, status: response.status });
      return response;
    } catch (error) {
      metrics.httpClientRequests.inc({ host, status: 0 });
      throw error;
    } finally {
      end();
    }
  };
}
