import { Long, ObjectId, UUID } from "mongodb";

/**
 * What an id in a URL can stand for. Ids are shown as JSON, which has fewer types than BSON, so that a text can be the id
 * of documents of several types. Where more than one exists, the first in this order is meant.
 *
 * @param text - the decoded segment of the path
 * @returns the text itself; an ObjectId for 24 hexadecimal digits, a UUID for its usual form, a number for a decimal
 *   number, an int64 for a whole number beyond those that a double tells apart, a date for ISO 8601 with milliseconds: each
 *   as `id` in an answer has it
 */
export function idsOf(text: string): readonly unknown[] {
  const ids: unknown[] = [text];
  if (/^[0-9a-f]{24}$/.test(text)) ids.push(new ObjectId(text));
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) ids.push(new UUID(text));
  if (/^-?\d{1,16}(?:\.\d{1,16})?$/.test(text) && String(Number(text)) === text) ids.push(Number(text));
  const long = longOf(text);
  if (long !== undefined) ids.push(long);
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text)) {
    const date = new Date(text);
    if (!Number.isNaN(date.getTime())) ids.push(date);
  }
  return ids;
}

/** Smaller ones are found by the number, for the database compares by value. A double that large could mean a neighbour. */
function longOf(text: string): Long | undefined {
  if (!/^-?[1-9]\d{15,18}$/.test(text)) return undefined;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? Long.fromBigInt(value) : undefined;
}
