import type { Doc, Live, LiveOptions, Query } from "./types.js";

/** What a subscription asks for, beside its id and where it begins. */
export interface Asked {
  readonly interface: string;
  readonly filter?: unknown;
  readonly fields?: readonly string[];
}

/** @param begin - begins to follow what was asked for */
export function createQuery<Row extends Doc>(
  asked: Asked,
  begin: (asked: Asked, options: LiveOptions<Row>) => Live<Row>,
): Query<Row> {
  return {
    where(filter) {
      const added = written(filter);
      return createQuery(
        { ...asked, filter: asked.filter === undefined ? added : { $and: [asked.filter, added] } },
        begin,
      );
    },
    select: (...fields) => createQuery({ ...asked, fields }, begin),
    live: (options = {}) => begin(asked, options),
  };
}

/**
 * A filter as JSON has it, or Extended JSON where that has more, as it is now: it is sent again after each loss of the connection.
 *
 * @throws TypeError for what would be left out in silence, and match more than was meant
 */
function written(filter: object): unknown {
  const text = JSON.stringify(filter, function (this: Record<string, unknown>, key, value: unknown) {
    // What was there before `toJSON` of a date made text of it.
    const given = this[key];
    if (given instanceof Date) return { $date: { $numberLong: String(given.getTime()) } };
    if (given instanceof RegExp) return { $regularExpression: { pattern: given.source, options: optionsOf(given) } };
    if (typeof given === "bigint") return { $numberLong: String(given) };
    const isNone = given === undefined || typeof given === "function" || typeof given === "symbol";
    if (isNone || (typeof given === "number" && !Number.isFinite(given)))
      throw new TypeError(
        `a filter can't have ${String(given)} for ${JSON.stringify(key)}; null matches what is missing`,
      );
    return value;
  });
  return JSON.parse(text);
}

/** Flags of JavaScript that MongoDB has too: `g` and `y` are of a search, `u` goes without saying. */
function optionsOf({ flags }: RegExp): string {
  return [...flags].filter((flag) => "ims".includes(flag)).join("");
}
