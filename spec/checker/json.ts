import { Decimal128, type Document, Long } from "mongodb";

/** What a document is on the wire, by the table of docs/messages.md, for the types that the writers use. */
export function rowOf({ _id, ...rest }: Document): Record<string, unknown> {
  return { id: jsonOf(_id), ...(jsonOf(rest) as Document) };
}

function jsonOf(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Decimal128) return value.toString();
  if (value instanceof Long) {
    const number = value.toNumber();
    return Number.isSafeInteger(number) ? number : value.toString();
  }
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, jsonOf(inner)]));
  return value;
}
