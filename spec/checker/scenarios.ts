import type { CollectionName } from "./documents.js";
import type { InterfaceName } from "./views.js";

/** What may be done to the parts of a run, each with how often it is drawn beside the others. */
export type Action =
  /** `kill -9`, and a start on the same port. */
  | "kill gateway"
  /** SIGTERM, and a start on the same port. */
  | "stop gateway"
  /** `kill -9`, and a start with the same data. */
  | "kill database"
  /** SIGSTOP, and SIGCONT after a while. */
  | "stall database"
  /** The database opens no change streams for a while, and those that are open break. */
  | "refuse streams"
  /** The connections between one gateway and the database are reset. */
  | "cut"
  /** Nothing passes between them for a while. */
  | "blackhole"
  /** The collection `fleeting` is dropped, and made again. */
  | "drop"
  /** A client goes away, and comes back with what it holds. */
  | "leave"
  /** The same, but it comes back to the other gateway. */
  | "move"
  /** A client stops reading for a while. */
  | "stall"
  /** A client ends one subscription and goes on with it at once. */
  | "resubscribe"
  /** A client ends one subscription and begins anew. */
  | "begin anew"
  /** The same, with changes only. */
  | "begin live"
  /** A client ends one subscription and makes it again after a while; it may stop reading then, and end it in the middle. */
  | "rest"
  /** A client goes away, comes back, and stops reading while it is told what it missed; it may go again in the middle of that. */
  | "doze"
  /** A client renews its token in place. */
  | "renew token"
  /** The same, and another rule may follow from the new token's claims. */
  | "change claims"
  /** A client asks how far all is complete, and holds on to that. */
  | "ping";

export interface Scenario {
  readonly gateways: 1 | 2;
  readonly clients: number;
  readonly plainClients: number;
  /** The fewest that a client has of three. */
  readonly fewestSubscriptions: 1 | 2;
  readonly writers: number;
  /** The mean between two writes of one writer. */
  readonly pauseMilliseconds: number;
  /** How often many documents are written at once, beside 100 writes of a few. */
  readonly bursts: number;
  /** Documents that each writer begins with in each collection. */
  readonly initialDocuments: number;
  /** What most bodies are padded with, at the most; 0 for none. */
  readonly paddingKilobytes: number;
  /** Of how many views, with much to tell, the clients of one user have theirs; 0: all have the same; undefined: each of its own. */
  readonly viewsPerUser?: number;
  readonly collections: readonly CollectionName[];
  readonly interfaces: readonly InterfaceName[];
  readonly weights: Readonly<Partial<Record<Action, number>>>;
  /** What is done beside that, drawn from numbers of its own: seeds that found something once go on doing what they did. */
  readonly asides: Readonly<Partial<Record<Action, number>>>;
  /** How many of them there are beside one action. */
  readonly asideShare: number;
  /** The mean between two actions. */
  readonly actionMilliseconds: number;
  /** The longest that a client stays away and the database stalls. */
  readonly longestMilliseconds: number;
}

/** Everything at once. */
export const everything: Scenario = {
  gateways: 2,
  clients: 7,
  plainClients: 3,
  fewestSubscriptions: 1,
  writers: 3,
  pauseMilliseconds: 8,
  bursts: 2,
  initialDocuments: 0,
  paddingKilobytes: 0,
  collections: ["items", "blind", "open", "fleeting", "elsewhere"],
  interfaces: ["shared", "mine", "team", "blindly", "blindly-mine", "open", "open-mine", "fleeting"],
  weights: {
    "kill gateway": 2,
    "stop gateway": 1,
    "kill database": 1,
    "stall database": 2,
    "refuse streams": 1,
    cut: 3,
    drop: 1,
    leave: 8,
    move: 8,
    stall: 4,
    resubscribe: 8,
    "begin anew": 6,
    ping: 16,
  },
  asides: { rest: 3, doze: 2, "begin live": 3, "renew token": 2, "change claims": 3 },
  asideShare: 0.2,
  actionMilliseconds: 80,
  longestMilliseconds: 2_000,
};

/** Silence that only a watchdog notices, too: for runs of minutes. */
export const patient: Scenario = {
  ...everything,
  weights: { ...everything.weights, blackhole: 1 },
  actionMilliseconds: 150,
  longestMilliseconds: 8_000,
};

/** One healthy gateway, a healthy database: clients come and go. */
export const calm: Scenario = {
  ...everything,
  gateways: 1,
  clients: 5,
  plainClients: 1,
  weights: { leave: 6, resubscribe: 4, "begin anew": 6, ping: 4 },
  actionMilliseconds: 40,
  longestMilliseconds: 300,
};

/** Nothing fails, but clients go from one gateway to the other beside bursts of writes, holding on to what a ping told. */
export const wandering: Scenario = {
  ...everything,
  clients: 9,
  plainClients: 0,
  writers: 5,
  pauseMilliseconds: 10,
  bursts: 200,
  collections: ["open", "elsewhere", "elsewhere"],
  interfaces: ["open", "open-mine"],
  weights: { move: 4, leave: 1, ping: 60 },
  asideShare: 0,
  actionMilliseconds: 4,
  longestMilliseconds: 200,
};

/**
 * What a client has missed, and what it has to read, is more than the buffers of its connection take, and it often has two
 * subscriptions of one view: what is sent to it waits for it, and meanwhile it unsubscribes, leaves, or becomes somebody else.
 */
export const heavy: Scenario = {
  ...everything,
  gateways: 1,
  clients: 8,
  plainClients: 0,
  fewestSubscriptions: 2,
  writers: 2,
  pauseMilliseconds: 25,
  bursts: 1,
  initialDocuments: 30,
  paddingKilobytes: 400,
  viewsPerUser: 2,
  collections: ["open", "open", "open", "open", "items"],
  interfaces: ["open", "open", "open", "open-team", "shared"],
  weights: {
    doze: 10,
    leave: 2,
    stall: 3,
    rest: 8,
    "begin anew": 3,
    "begin live": 1,
    "renew token": 1,
    "change claims": 2,
    ping: 4,
  },
  asideShare: 0,
  actionMilliseconds: 80,
  longestMilliseconds: 2_500,
};

export const scenarios = { everything, patient, calm, wandering, heavy } as const;
export type ScenarioName = keyof typeof scenarios;
