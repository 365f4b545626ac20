/** BSON types by the names that `$type` takes, with their numbers. */
export const typeNumbers: ReadonlyMap<string, number> = new Map([
  ["double", 1],
  ["string", 2],
  ["object", 3],
  ["array", 4],
  ["binData", 5],
  ["undefined", 6],
  ["objectId", 7],
  ["bool", 8],
  ["date", 9],
  ["null", 10],
  ["regex", 11],
  ["javascript", 13],
  ["javascriptWithScope", 15],
  ["int", 16],
  ["timestamp", 17],
  ["long", 18],
  ["decimal", 19],
  ["minKey", -1],
  ["maxKey", 127],
]);

/** The numeric types that the driver turns into plain numbers, so that they can't be told apart afterwards. */
export const promotedNumberTypes = ["double", "int", "long"] as const;

/** What `"number"` stands for. */
export const numberTypes = [...promotedNumberTypes, "decimal"] as const;

const typeNames: ReadonlyMap<number, string> = new Map([...typeNumbers].map(([name, number]) => [number, name]));

/** @returns the names that one operand of `$type` stands for, or undefined if there is no such type */
export function typeNamesOf(operand: unknown): readonly string[] | undefined {
  if (operand === "number") return numberTypes;
  const name = typeof operand === "number" ? typeNames.get(operand) : operand;
  return typeof name === "string" && typeNumbers.has(name) ? [name] : undefined;
}
