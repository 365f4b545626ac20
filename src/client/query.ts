import type { Doc, Live, LiveOptions, Query } from "./types.js";

/** What a subscription asks for, beside its id and where it begins. */
export interface Asked {
  readonly interface: string;
  readonly filter?: Record<string, unknown>;
  readonly fields?: readonly string[];
}

/** @param begin - begins to follow what was asked for */
export function createQuery<Row extends Doc>(
  asked: Asked,
  begin: (asked: Asked, options: LiveOptions<Row>) => Live<Row>,
): Query<Row> {
  return {
    where: (filter) =>
      createQuery({ ...asked, filter: asked.filter === undefined ? filter : { $and: [asked.filter, filter] } }, begin),
    select: (...fields) => createQuery({ ...asked, fields }, begin),
    live: (options = {}) => begin(asked, options),
  };
}

/** JSON has no dates, patterns or large numbers; Extended JSON, which filters may be in, has. */
export function toMessage(message: unknown): string {
  return JSON.stringify(message, function (this: Record<string, unknown>, key, value: unknown) {
    // What was there before `toJSON` of a date made text of it.
    const given = this[key];
    if (given instanceof Date) return { $date: { $numberLong: String(given.getTime()) } };
    if (given instanceof RegExp) return { $regularExpression: { pattern: given.source, options: optionsOf(given) } };
    return typeof given === "bigint" ? { $numberLong: String(given) } : value;
  });
}

/** Flags of JavaScript that MongoDB has too: `g` and `y` are of a search, `u` goes without saying. */
function optionsOf({ flags }: RegExp): string {
  return [...flags].filter((flag) => "ims".includes(flag)).join("");
}
