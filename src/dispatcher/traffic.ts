import type { InterfaceSettings } from "../config/settings.js";
import { operations } from "../message.js";
import { counterOf, gaugeOf, type Metrics } from "../metrics.js";
import type { Change } from "../watcher/change.js";
import type { View } from "./view.js";
import type { Views } from "./views.js";

interface Figures {
  readonly changes: Record<Change["operation"], number>;
  messages: number;
  bytes: number;
}

/** Counts what passes through the dispatcher, as plain numbers that the metrics read when they are asked for. */
export function createTraffic(
  metrics: Metrics,
  interfaces: ReadonlyMap<string, InterfaceSettings>,
  views: Views,
): { countChange(change: Change): void; countMessage(view: View, bytes: number, connections: number): void } {
  const byName = new Map<string, Figures>();
  const byCollection = new Map<string, Figures[]>();
  for (const { name, collection } of interfaces.values()) {
    const figures = { changes: { insert: 0, update: 0, delete: 0 }, messages: 0, bytes: 0 };
    byName.set(name, figures);
    byCollection.set(collection, [...(byCollection.get(collection) ?? []), figures]);
  }
  counterOf(
    metrics,
    {
      name: "tailgate_changes_total",
      help: "Changes read from the change stream",
      labelNames: ["interface", "operation"],
    },
    function* () {
      for (const [name, { changes }] of byName) {
        for (const operation of operations) yield [{ interface: name, operation }, changes[operation]];
      }
    },
  );
  const sent = (name: string, help: string, count: (figures: Figures) => number): void =>
    counterOf(metrics, { name, help, labelNames: ["interface"] }, function* () {
      for (const [interfaceName, figures] of byName) yield [{ interface: interfaceName }, count(figures)];
    });
  sent(
    "tailgate_messages_sent_total",
    "Messages handed to connections, each counted once a connection",
    (each) => each.messages,
  );
  sent(
    "tailgate_bytes_sent_total",
    "Bytes of the messages handed to connections, each counted once a connection",
    (each) => each.bytes,
  );
  gaugeOf(
    metrics,
    "tailgate_shown_ids",
    "Ids that are remembered because a filtered view's collection has no pre-images",
    () => views.shownIds,
  );
  return {
    countChange({ collection, operation }) {
      for (const figures of byCollection.get(collection) ?? []) figures.changes[operation] += 1;
    },
    countMessage(view, bytes, connections) {
      const figures = byName.get(view.interfaceName);
      if (figures === undefined) return;
      figures.messages += connections;
      figures.bytes += bytes * connections;
    },
  };
}
