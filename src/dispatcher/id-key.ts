import { BSON, ObjectId } from "mongodb";

/**
 * What documents are remembered by. As JSON text an ObjectId and a string of the same digits would be one document.
 *
 * @param id - as the driver decodes it
 * @returns a text that two ids share only where they are the same value of the same type
 */
export function idKey(id: unknown): string {
  if (typeof id === "string") return `s${id}`;
  if (id instanceof ObjectId) return `o${id.toHexString()}`;
  return BSON.EJSON.stringify({ id }, { relaxed: false });
}
