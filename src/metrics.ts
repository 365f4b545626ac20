import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export type Metrics = ReturnType<typeof createMetrics>;

/** Every figure that the gateway keeps of itself, in one registry of its own: two gateways in a process don't mix. */
export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    connections: new Gauge({
      name: "tailgate_connections",
      help: "Open websocket connections",
      labelNames: ["mode"],
      registers,
    }),
    connectionsClosed: new Counter({
      name: "tailgate_connections_closed_total",
      help: "Websocket connections closed, by close code",
      labelNames: ["code"],
      registers,
    }),
    subscriptions: new Gauge({ name: "tailgate_subscriptions", help: "Subscriptions of all connections", registers }),
    views: new Gauge({ name: "tailgate_views", help: "Views that at least one connection follows", registers }),
    quarantined: new Counter({
      name: "tailgate_quarantined_documents_total",
      help: "Changes that were not sent because their document could not be represented",
      labelNames: ["interface"],
      registers,
    }),
    resets: new Counter({
      name: "tailgate_resets_total",
      help: "Resets of interfaces, by reason",
      labelNames: ["reason"],
      registers,
    }),
    streamFailures: new Counter({
      name: "tailgate_stream_failures_total",
      help: "Failures of the change stream, by what was done about them",
      labelNames: ["recovery"],
      registers,
    }),
    httpClientRequests: new Counter({
      name: "tailgate_http_client_requests_total",
      help: "Outgoing HTTP requests, by host and status; a status of 0 means that no answer came",
      labelNames: ["host", "status"],
      registers,
    }),
    httpClientSeconds: new Histogram({
      name: "tailgate_http_client_request_seconds",
      help: "Time from an outgoing HTTP request to its answer's headers, in seconds",
      labelNames: ["host"],
      registers,
    }),
    apiSeconds: new Histogram({
      name: "tailgate_api_request_seconds",
      help: "Time from an API request to the end of its answer, in seconds",
      labelNames: ["route", "method", "status"],
      registers,
    }),
    tasks: new Counter({
      name: "tailgate_tasks_total",
      help: "Tasks that ended, by name and state",
      labelNames: ["task", "state"],
      registers,
    }),
    tasksRunning: new Gauge({ name: "tailgate_tasks_running", help: "Tasks that this gateway is running", registers }),
  };
}

/**
 * Adds a counter that its owner keeps as plain numbers, for a labelled counter costs about a microsecond each time, and
 * some are counted for every change. It is read when the metrics are asked for.
 */
export function counterOf<Label extends string>(
  metrics: Metrics,
  options: { name: string; help: string; labelNames: readonly Label[] },
  read: () => Iterable<readonly [labels: Record<Label, string>, value: number]>,
): void {
  new Counter({
    name: options.name,
    help: options.help,
    labelNames: [...options.labelNames],
    registers: [metrics.registry],
    collect() {
      this.reset();
      for (const [labels, value] of read()) this.inc(labels, value);
    },
  });
}

/**
 * Adds a gauge whose value is read when the metrics are asked for.
 *
 * @param read - undefined where the figure can't be known; the series is then absent rather than wrong
 */
export function gaugeOf(metrics: Metrics, name: string, help: string, read: () => number | undefined): void {
  new Gauge({
    name,
    help,
    registers: [metrics.registry],
    collect() {
      const value = read();
      if (value === undefined) this.remove();
      else this.set(value);
    },
  });
}
