import type { Document } from "mongodb";
import type { LogLevel } from "../log.js";

/** Who a connection or request speaks for: the claims of its token, or what an application's `sessions` hook returned. */
export interface User {
  readonly sub: string;
  readonly [claim: string]: unknown;
}

/**
 * Who may see or write which documents: everyone, no one, or those that match a filter in which `"$user.X"` stands for
 * a claim. Functions come only from modules and embedding code; an anonymous connection has no user.
 */
export type Rule = boolean | Document | RuleFunction;
export type RuleFunction = (user: User | null) => boolean | Document;

/** One interface: the public name of a collection, what clients see of it and who they must be. */
export interface InterfaceSettings {
  readonly name: string;
  readonly collection: string;
  /** The representation's paths, without `_id`, which is always there as `id`. Absent: every field. */
  readonly fields?: readonly string[];
  readonly representation?: (document: Document) => Document;
  readonly read: Rule;
  readonly write: Rule;
  /** Paths beside `fields` that clients may filter and sort on. */
  readonly filterable: readonly string[];
}

export interface JwtSettings {
  readonly secret?: string;
  readonly jwksUrl?: string;
  readonly issuer?: string;
  readonly audience?: string | readonly string[];
  readonly algorithms?: readonly string[];
}

/** What a `sessions` hook is told about a request or a websocket that is about to open. Header names are in lower case. */
export interface SessionRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly remoteAddress: string;
}

export type SessionLookup = (request: SessionRequest) => User | null | Promise<User | null>;

export interface AuthSettings {
  readonly anonymous: boolean;
  readonly jwt?: JwtSettings;
  readonly closeCode: number;
  /** Whether a token is taken from `?token=`, where proxies and browsers keep it in their logs. */
  readonly queryToken: boolean;
  readonly sessions?: SessionLookup;
}

export interface HistorySettings {
  readonly events: number;
  readonly megabytes: number;
  readonly replayLimit: number;
}

export interface SnapshotSettings {
  /**
   * How the rows of a subscription are read: "snapshot" at one moment in time, "majority" as they come; "auto" is the first
   * where the server is MongoDB 5 or later.
   */
  readonly readConcern: "auto" | "snapshot" | "majority";
}

export interface LimitSettings {
  readonly payloadKilobytes: number;
  readonly subscriptionsPerConnection: number;
  readonly connectionsPerUser: number;
  readonly messagesPerMinute: number;
  readonly bufferedMegabytes: number;
  /** A peer that has answered no ping for this long is gone. */
  readonly idleSeconds: number;
}

export interface TaskSettings {
  readonly concurrency: number;
  readonly queue: number;
  readonly timeoutSeconds: number;
  /** How long a gateway that runs a task may be silent before another takes the task. Not configurable: 30 s if absent. */
  readonly leaseMilliseconds?: number;
}

/** Settings of the one client that makes all outgoing HTTP requests. */
export interface HttpSettings {
  readonly userAgent: string;
  /** For one attempt, in seconds. */
  readonly timeoutSeconds: number;
  /** For a request with all its retries and the waits between them, in seconds. */
  readonly totalTimeoutSeconds: number;
  /** Attempts after the first. */
  readonly retries: number;
}

export interface ExecutorSettings {
  readonly threads: number;
  readonly processes: number;
  /** Calls that may wait for a free worker, in each pool. */
  readonly queue: number;
}

/** The configuration as the gateway uses it: checked, complete, and the same for a file and for embedding code. */
export interface Settings {
  /** Where the configuration came from: the path of its file. Absent: defaults, or options of embedding code. */
  readonly file?: string;
  readonly mongodbUri: string;
  readonly host: string;
  readonly port: number;
  readonly logLevel: LogLevel;
  readonly interfaces: ReadonlyMap<string, InterfaceSettings>;
  readonly auth: AuthSettings;
  /** Exact origins of pages that may connect. Empty: only pages of the same host. */
  readonly allowedOrigins: readonly string[];
  readonly history: HistorySettings;
  readonly snapshots: SnapshotSettings;
  readonly limits: LimitSettings;
  readonly tasks: TaskSettings;
  readonly taskDefinitions: readonly NamedTask[];
  readonly http: HttpSettings;
  readonly executors: ExecutorSettings;
  /** `public`: whether everyone who reaches the port may read them. */
  readonly metrics: { readonly public: boolean };
  /** `port` opens the API on a port of its own as well, for bulk requests. Absent: it is behind the public port only. */
  readonly api: { readonly port?: number };
  readonly shutdown: { readonly graceSeconds: number };
}

/** All that the configuration knows of a task; what `defineTask` returns is one. */
export interface NamedTask {
  readonly name: string;
}

export interface InterfaceOptions extends Partial<Omit<InterfaceSettings, "name">> {}

/** What `createGateway(options)` takes, and the shape of a configuration file. */
export interface Options {
  /** The database's URI, with the database's name in its path. */
  readonly mongo?: string;
  readonly host?: string;
  /** 0 takes a free port. */
  readonly port?: number;
  readonly logLevel?: LogLevel;
  readonly interfaces?: Readonly<Record<string, InterfaceOptions>>;
  readonly auth?: Partial<AuthSettings>;
  readonly allowedOrigins?: readonly string[];
  readonly history?: Partial<HistorySettings>;
  readonly snapshots?: Partial<SnapshotSettings>;
  readonly limits?: Partial<LimitSettings>;
  /** The tasks themselves, or their limits with the tasks as `definitions`. */
  readonly tasks?: readonly NamedTask[] | (Partial<TaskSettings> & { readonly definitions?: readonly NamedTask[] });
  readonly http?: Partial<HttpSettings>;
  readonly executors?: Partial<ExecutorSettings>;
  readonly metrics?: { readonly public?: boolean };
  readonly api?: { readonly port?: number };
  readonly shutdown?: { readonly graceSeconds?: number };
}
