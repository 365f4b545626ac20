import type { Kind } from "./findings.js";
import { calm, type Scenario } from "./scenarios.js";

/** A mistake put into a copy of the gateway's sources, to see that the checker finds it. */
export interface PlantedBug {
  /** As the name of a spec: the checker finds … */
  readonly name: string;
  /** Under `src`. */
  readonly file: string;
  /** Stands in the file exactly once. Where the code has moved on, take another place for the same mistake. */
  readonly search: string;
  readonly replacement: string;
  /** One of these the checker has to find. */
  readonly finds: readonly Kind[];
  readonly scenario: Scenario;
  /** The longest that it may take to be found. */
  readonly seconds: number;
}

const busy: Scenario = { ...calm, pauseMilliseconds: 4, actionMilliseconds: 25 };
const joining: Scenario = { ...busy, clients: 8, weights: { "begin anew": 1 }, collections: ["items", "open"] };
const returning: Scenario = {
  ...busy,
  clients: 8,
  weights: { leave: 2, resubscribe: 1 },
  collections: ["items", "open"],
};
const withImages: Scenario["interfaces"] = ["shared", "mine", "team", "open", "open-mine"];

export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "every 50th message swallowed",
    file: "dispatcher/dispatcher.ts",
    search: "publisher?.publish(topic, message, bytes);",
    replacement:
      "globalThis.planted = (globalThis.planted ?? 0) + 1;\n    if (globalThis.planted % 50 !== 0) publisher?.publish(topic, message, bytes);",
    finds: ["gap", "lost"],
    scenario: busy,
    seconds: 5,
  },
  {
    name: "a message published twice",
    file: "dispatcher/dispatcher.ts",
    search:
      "publish(view, view.id, view.liveMessage(operation, data, position, view.lastPosition), view.liveConnections);",
    replacement:
      "for (let time = 0; time < 2; time++) publish(view, view.id, view.liveMessage(operation, data, position, view.lastPosition), view.liveConnections);",
    finds: ["doubled"],
    scenario: busy,
    seconds: 5,
  },
  {
    name: "a wrong `previous`",
    file: "dispatcher/dispatcher.ts",
    search: "      view.lastPosition = position;\n",
    replacement: "      if (operation !== 'update') view.lastPosition = position;\n",
    finds: ["gap"],
    scenario: busy,
    seconds: 5,
  },
  {
    name: "the cut of a snapshot taken after its rows were read",
    file: "dispatcher/snapshot.ts",
    search: "      this.#hasEnded = true;\n",
    replacement:
      '      await new Promise((resolve) => setTimeout(resolve, 50));\n      this.#hasEnded = true;\n      this.#replay = new Replay(this.#view, head() ?? "", { kind: "holding", isExact, rows: held }, budget);\n',
    finds: ["lost", "differs"],
    scenario: joining,
    seconds: 5,
  },
  {
    name: "the rule skipped on deletes",
    file: "dispatcher/view.ts",
    search: 'if (!is) return was ? { operation: "delete", id: this.encodeId(change) } : undefined;',
    replacement: 'if (!is) return { operation: "delete", id: this.encodeId(change) };',
    finds: ["leak"],
    scenario: busy,
    seconds: 5,
  },
  {
    name: "the rule skipped in a replay",
    file: "dispatcher/replay.ts",
    search: "const is = after !== undefined && this.view.matches(after);",
    replacement: "const is = after !== undefined;",
    finds: ["leak", "outside"],
    scenario: returning,
    seconds: 5,
  },
  {
    name: "a replay that begins one change too late",
    file: "dispatcher/replays.ts",
    search: "for (let next = place; next < history.end",
    replacement: "for (let next = place + 1; next < history.end",
    finds: ["gap", "lost", "differs"],
    scenario: { ...returning, collections: ["open"], interfaces: ["open", "open-mine"] },
    seconds: 5,
  },
  {
    name: "a change of a replay sent twice",
    file: "sockets/subscription.ts",
    search: "channel.send(index === next && from !== undefined ? this.view.following(text, from) : text);",
    replacement:
      "for (let time = 0; time < 2; time++) channel.send(index === next && from !== undefined ? this.view.following(text, from) : text);",
    finds: ["doubled"],
    scenario: returning,
    seconds: 5,
  },
  {
    name: "a document that leaves a view by an update, not told of",
    file: "dispatcher/view.ts",
    search: 'if (!is) return was ? { operation: "delete", id: this.encodeId(change) } : undefined;',
    replacement:
      'if (!is) return was && change.operation === "delete" ? { operation: "delete", id: this.encodeId(change) } : undefined;',
    finds: ["lost", "differs"],
    scenario: busy,
    seconds: 2,
  },
  {
    name: "a collection's drop ignored by a replay",
    file: "dispatcher/replay.ts",
    search: "if (event.collections?.includes(this.view.collection) ?? true) this.fail(event.reason);",
    replacement: "",
    finds: ["differs", "lost"],
    scenario: {
      ...busy,
      clients: 8,
      collections: ["fleeting", "open"],
      interfaces: ["fleeting"],
      weights: { drop: 1, leave: 6 },
    },
    seconds: 4,
  },
  {
    name: "pre-images ignored",
    file: "dispatcher/view.ts",
    search: "if (change.before !== undefined) return this.matches(change.before);",
    replacement: "",
    finds: ["reset", "close"],
    scenario: { ...busy, collections: ["items", "open"], interfaces: withImages },
    seconds: 5,
  },
  {
    name: "every field shown",
    file: "dispatcher/representation.ts",
    search: "const chosen = selection.get(key);",
    replacement: 'const chosen = selection.get(key) ?? (key === "_id" ? undefined : "all");',
    finds: ["leak"],
    scenario: busy,
    seconds: 5,
  },
  {
    name: "a stream that is reopened at once, again and again",
    file: "watcher/watcher.ts",
    search: 'await sleep(recovery === "wait" ? Math.max(5_000, backoff.next()) : backoff.next(), stopping.signal);',
    replacement: "await sleep(10, stopping.signal);",
    finds: ["retry loop"],
    scenario: { ...busy, weights: { "refuse streams": 1 }, longestMilliseconds: 2_000 },
    seconds: 3,
  },
];
