import type { AuthSettings, InterfaceSettings, Settings, User } from "../config/settings.js";

/** The collection of the gateway's database that holds the tasks, and the interface that shows them. */
export const tasksCollection = "tasks";

export const taskStates = ["queued", "running", "complete", "failed", "cancelled"] as const;
export type TaskState = (typeof taskStates)[number];

/** Why a task failed. */
export interface TaskError {
  /** `task-failed`, `task-timeout`, `worker-crashed`, `gateway-lost`, `result-too-large` …, or the error's own code. */
  readonly code: string;
  readonly message: string;
}

/** A task as it is stored. Another program may insert one with no more than `name`, `input` and the state `queued`. */
export interface TaskDocument {
  readonly _id: unknown;
  readonly name: string;
  /** As the client sent it; the schema is applied to it again when the task starts. */
  readonly input?: unknown;
  readonly state: TaskState;
  readonly progress?: unknown;
  readonly result?: unknown;
  readonly error?: TaskError | null;
  /** The `sub` of the user who started it, null for an anonymous one. */
  readonly user?: string | null;
  /** How many gateways have begun with it, not counting those that gave it back when they stopped. */
  readonly attempts?: number;
  /** The instance that runs it. */
  readonly gateway?: string | null;
  /** Until when the instance may be silent before it is taken for dead; the database server's clock. */
  readonly lease_expires_at?: Date | null;
  readonly created_at?: Date;
  readonly started_at?: Date | null;
  readonly ended_at?: Date | null;
}

/** What clients see of a task: all but how gateways share the work. */
const shownFields = [
  "name",
  "input",
  "state",
  "progress",
  "result",
  "error",
  "user",
  "created_at",
  "started_at",
  "ended_at",
] as const satisfies readonly (keyof TaskDocument)[];

/**
 * The interface that shows tasks on the stream and in the API, each to its creator.
 *
 * @param auth - where it configures no way to become a user, everyone is anonymous, and shares the tasks that no user has
 *   started. Where it does, those are nobody's: that two anonymous clients are the same one can't be known.
 */
export function tasksInterface(auth: Pick<AuthSettings, "jwt" | "sessions">): InterfaceSettings {
  const areUsersKnown = auth.jwt !== undefined || auth.sessions !== undefined;
  return {
    name: tasksCollection,
    collection: tasksCollection,
    fields: shownFields,
    read: (user) => (areUsersKnown && user === null ? false : { user: creatorOf(user) }),
    // Tasks are started and cancelled by routes of their own, under `allow`.
    write: false,
    filterable: [],
  };
}

/** @returns the settings with the interface of the tasks, where any are defined. */
export function withTasksInterface(settings: Settings): Settings {
  if (settings.taskDefinitions.length === 0) return settings;
  return {
    ...settings,
    interfaces: new Map([...settings.interfaces, [tasksCollection, tasksInterface(settings.auth)]]),
  };
}

/** @returns what stands for the user in the documents of the tasks that they started. */
export function creatorOf(user: User | null): string | null {
  return user?.sub ?? null;
}

export function hasEnded(state: TaskState): boolean {
  return state === "complete" || state === "failed" || state === "cancelled";
}
