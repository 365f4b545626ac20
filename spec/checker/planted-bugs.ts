import type { Kind } from "./findings.js";
import { calm, heavy, type Scenario } from "./scenarios.js";

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
  /** Whether it takes so long to be found that only long runs look for it. */
  readonly isLong?: true;
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
/** Of one view, and more to read at once than the buffers take. */
const crowded: Scenario = {
  ...heavy,
  clients: 4,
  collections: ["open"],
  viewsPerUser: 0,
  paddingKilobytes: 600,
  actionMilliseconds: 100,
  longestMilliseconds: 1_200,
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
    search:
      'if (!is) return was || this.#isExpected(change) ? { operation: "delete", id: this.encodeId(change) } : undefined;',
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
    search:
      'if (!is) return was || this.#isExpected(change) ? { operation: "delete", id: this.encodeId(change) } : undefined;',
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
  {
    name: "the count of a view's connections going down twice for one that is cut off in a replay",
    file: "sockets/live.ts",
    search: "    this.#change(view, () => ({ isReplaying: false }));\n",
    replacement:
      "    this.#change(view, () => ({ isReplaying: false }));\n    if (this.#socket === undefined) view.liveConnections -= 1;\n",
    finds: ["gap", "lost", "differs", "not settled"],
    scenario: { ...crowded, weights: { doze: 1 } },
    isLong: true,
    seconds: 8,
  },
  {
    name: "two replays of one view on one connection at the same time",
    file: "sockets/in-turn.ts",
    search: "export const replayInTurn = createTurnsOfConnections(1);",
    replacement: "export const replayInTurn = createTurnsOfConnections(1_000);",
    finds: ["gap", "lost", "differs"],
    scenario: { ...crowded, weights: { rest: 2, doze: 1 } },
    seconds: 8,
  },
  {
    name: "a replay that is given up by who asked for it, while others follow it",
    file: "sockets/subscription.ts",
    search: "      if (this.#isOver) return undefined;\n",
    replacement: '      if (this.#hasEnded) {\n        end(true);\n        return "joined";\n      }\n',
    finds: ["gap", "lost", "differs"],
    scenario: { ...crowded, weights: { rest: 1 }, actionMilliseconds: 150 },
    isLong: true,
    seconds: 8,
  },
  {
    name: "a part of a snapshot left out where it would have to wait",
    file: "sockets/subscription.ts",
    search:
      "      if (part === undefined || !(await this.#hasRoom())) return undefined;\n      isLast = part.isLast;\n",
    replacement:
      "      const isFull = channel.isFull();\n      if (part === undefined || !(await this.#hasRoom())) return undefined;\n      isLast = part.isLast;\n      if (isFull && !isLast) continue;\n",
    finds: ["lost", "differs"],
    scenario: { ...crowded, weights: { doze: 2, "begin anew": 2, stall: 2 } },
    isLong: true,
    seconds: 5,
  },
  {
    name: "a subscription without rows that is ready before it is live",
    file: "sockets/subscription.ts",
    search: "    this.view.beginAt(head);\n    this.#attach();\n",
    replacement: "    setTimeout(() => this.#hasEnded || this.#attach(), 50);\n",
    finds: ["gap", "lost"],
    scenario: { ...busy, weights: { "begin live": 1 }, collections: ["items", "open"], interfaces: withImages },
    seconds: 4,
  },
  {
    name: "a renewed token that leaves subscriptions under the rule of the one before",
    file: "sockets/session.ts",
    search: 'if (!isSame) this.#begin(asked, {}, "rule-changed");',
    replacement: "",
    finds: ["leak", "differs"],
    scenario: { ...busy, weights: { "change claims": 1 }, collections: ["items"], interfaces: ["team", "shared"] },
    seconds: 4,
  },
  {
    name: "the messages of replays kept for ever",
    file: "dispatcher/replay.ts",
    search: "    this.frames.length = 0;\n",
    replacement: "    globalThis.planted = [...(globalThis.planted ?? []), ...this.frames.splice(0)];\n",
    finds: ["left over"],
    scenario: crowded,
    isLong: true,
    seconds: 8,
  },
  {
    name: "a connection that sends within the event that tells of room",
    file: "sockets/server.ts",
    search: "setImmediate(() => live.drained(socket));",
    replacement: "live.drained(socket);",
    finds: ["not settled"],
    scenario: { ...crowded, weights: { doze: 1 } },
    isLong: true,
    seconds: 8,
  },
];
