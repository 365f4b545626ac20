/** From what is as it should be to what keeps the gateway from its promises. */
export const levels = ["ok", "note", "warning", "problem"] as const;
export type Level = (typeof levels)[number];

export const areas = ["node", "uwebsockets", "configuration", "port", "database", "collections", "oplog"] as const;
export type Area = (typeof areas)[number];

/** One thing that the doctor looked at. */
export interface Finding {
  readonly area: Area;
  readonly level: Level;
  /** What is the case, in a line. */
  readonly what: string;
  /** What follows from it. */
  readonly consequence?: string;
  /** What to do about it: a command where there is one. */
  readonly fix?: string;
}

/** @returns the text of anything that was thrown */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
