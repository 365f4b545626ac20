/**
 * A place in the database's history, as an opaque string whose order is the history's order:
 *
 *     ssssssss iiiiiiii oooooooo tttttttt      (hexadecimal, without the spaces)
 *
 * seconds and increment of the cluster time, an ordinal among the events that share that time (a transaction's events all
 * do), and a tag of the database's identity. Nothing in it is secret, unlike a resume token, which holds document ids.
 */
export interface Position {
  /** Seconds since 1970 of the cluster time. */
  readonly seconds: number;
  /** The increment of the cluster time within its second. */
  readonly increment: number;
  /** 1 for the first event at that time; see `ordinals`. */
  readonly ordinal: number;
  /** Eight hexadecimal digits that identify the database. */
  readonly tag: string;
}

/** Places at a cluster time that are not an event: before all of its events, and after all of them. */
export const ordinals = { before: 0, after: 0xffffffff } as const;

const shape = /^[0-9a-f]{32}$/;

/** @returns the position as text: 32 hexadecimal digits. */
export function formatPosition(position: Position): string {
  return hex(position.seconds) + hex(position.increment) + hex(position.ordinal) + position.tag;
}

/**
 * @param text - what a client sent as a position
 * @returns the position, or undefined where the text is not one
 */
export function parsePosition(text: string): Position | undefined {
  if (!shape.test(text)) return undefined;
  return {
    seconds: Number.parseInt(text.slice(0, 8), 16),
    increment: Number.parseInt(text.slice(8, 16), 16),
    ordinal: Number.parseInt(text.slice(16, 24), 16),
    tag: text.slice(24),
  };
}

/** @returns the beginning of a position, its cluster time: of two, the greater one is later. */
export function timeOfPosition(position: string): string {
  return position.slice(0, 16);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
