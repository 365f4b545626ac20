import { type Document, MongoServerError, MongoWriteConcernError } from "mongodb";
import { z } from "zod";
import { overlaps } from "../dispatcher/representation.js";
import { RequestError } from "../errors.js";
import { isPlainObject } from "../filter/limits.js";

/** Further members of the problem `validation-failed`. */
export const validationProblemSchema = z.looseObject({
  code: z.literal("validation-failed"),
  errors: z.array(
    z.strictObject({
      path: z.string().describe("of the field; empty for the document as a whole"),
      message: z.string(),
    }),
  ),
});

/** What is wrong with one field. */
export type FieldError = z.output<typeof validationProblemSchema>["errors"][number];

const maxErrors = 100;

const codes = {
  duplicateKey: new Set([11000, 11001]),
  validation: new Set([121]),
  tooLarge: new Set([10334, 17419, 17420]),
  timeLimit: new Set([50, 262]),
  writeConcern: new Set([64, 100]),
  /** Codes that mean something for a read that they don't mean here. */
  ofReads: new Set([2, 292]),
} as const;

/**
 * @param allowed - the paths that the client knows of, or undefined for every one: no other is named to it
 * @returns what a failed write is to a client, or the error itself where it is not about the write
 */
export function writeErrorOf(error: unknown, allowed: readonly string[] | undefined): unknown {
  if (!(error instanceof MongoServerError)) return error;
  const code = Number(error.code);
  const refusal = (status: number, name: string, detail: string, extensions: Record<string, unknown> = {}) =>
    new RequestError(status, name, detail, extensions, { cause: error });
  if (error instanceof MongoWriteConcernError || codes.writeConcern.has(code)) {
    return refusal(
      504,
      "write-not-confirmed",
      "the write was made, but not enough members of the database confirmed it in time: it may yet be undone",
    );
  }
  if (codes.duplicateKey.has(code)) {
    const keys = Object.keys((error.keyPattern as Document | undefined) ?? {}).map(publicPath);
    const known = keys.filter((key) => isKnown(key, allowed));
    const named = known.length === 0 ? "its values" : known.join(", ");
    return refusal(409, "duplicate", `there is a document already with the same ${named}`, { keys: known });
  }
  if (codes.validation.has(code)) {
    const errors = fieldErrorsOf((error.errInfo as Document | undefined)?.details, allowed);
    return refusal(422, "validation-failed", "the document breaks the rules of its collection", { errors });
  }
  if (codes.tooLarge.has(code)) return refusal(413, "document-too-large", "the document would be over 16 MB");
  if (codes.timeLimit.has(code)) return refusal(504, "query-too-slow", "the database took too long to write");
  if (codes.ofReads.has(code)) return new Error("the database refused a write", { cause: error });
  return error;
}

/**
 * Says field by field what a collection's validator refuses.
 *
 * @param details - `errInfo.details` of the server's error 121:
 *   https://www.mongodb.com/docs/manual/core/schema-validation/handle-invalid-documents/
 * @param allowed - as for {@link writeErrorOf}; what is wrong elsewhere is told without saying where. Values are told of
 *   no field: they may be another's
 */
export function fieldErrorsOf(details: unknown, allowed: readonly string[] | undefined): FieldError[] {
  const found: FieldError[] = [];
  collect(details, "", undefined, found);
  const known = found.filter(({ path }) => path === "" || isKnown(path, allowed));
  if (known.length < found.length || known.length === 0) {
    known.push({ path: "", message: "does not satisfy the validator of the collection" });
  }
  return known.slice(0, maxErrors);
}

/** @param description - what the schema says of the field, in its author's words */
function collect(rule: unknown, path: string, description: string | undefined, into: FieldError[]): void {
  if (Array.isArray(rule)) {
    for (const each of rule) collect(each, path, description, into);
    return;
  }
  if (!isPlainObject(rule)) return;
  const before = into.length;
  const at = (name: unknown): string => publicPath(path === "" ? String(name) : `${path}.${String(name)}`);
  for (const name of listOf(rule.missingProperties)) into.push({ path: at(name), message: "is required" });
  for (const name of listOf(rule.additionalProperties)) into.push({ path: at(name), message: "is not allowed" });
  for (const property of listOf(rule.propertiesNotSatisfied)) {
    if (!isPlainObject(property)) continue;
    collect(property.details, at(property.propertyName), textOf(property.description), into);
  }
  collect(rule.schemaRulesNotSatisfied, path, undefined, into);
  for (const each of [...listOf(rule.clausesNotSatisfied), ...allOfSchemas(rule)]) {
    if (isPlainObject(each)) collect(each.details, path, undefined, into);
  }
  if (rule.operatorName === "items" && rule.itemIndex !== undefined)
    collect(rule.details, at(rule.itemIndex), undefined, into);
  else if (rule.failingProperty !== undefined) collect(rule.details, at(rule.failingProperty), undefined, into);
  else if (rule.operatorName === "patternProperties") {
    for (const each of listOf(rule.details)) {
      if (isPlainObject(each)) collect(each.details, at(each.propertyName), undefined, into);
    }
  }
  if (into.length === before) into.push({ path: pathOf(rule, path), message: messageOf(rule, description) });
}

/** Alternatives (`anyOf`, `oneOf`) are told as one: no single one of them has to be satisfied. */
function allOfSchemas(rule: Document): readonly unknown[] {
  return rule.operatorName === "allOf" ? listOf(rule.schemasNotSatisfied) : [];
}

/** A condition of MongoDB's own language names its path in what was specified: `{ n: { $gt: 3 } }`. */
function pathOf(rule: Document, path: string): string {
  if (path !== "" || !isPlainObject(rule.specifiedAs)) return path;
  const [name = "", ...others] = Object.keys(rule.specifiedAs);
  const isCondition = String(rule.operatorName).startsWith("$") && others.length === 0 && !name.startsWith("$");
  return isCondition ? publicPath(name) : path;
}

function messageOf(rule: Document, description: string | undefined): string {
  if (description !== undefined) return description;
  const operator = String(rule.operatorName ?? "the validator");
  const specified: unknown = isPlainObject(rule.specifiedAs) ? rule.specifiedAs[operator] : undefined;
  const operand = specified === undefined ? "" : ` ${JSON.stringify(specified)}`;
  const reason = textOf(rule.reason);
  return `does not satisfy ${operator}${operand}${reason === undefined ? "" : `: ${reason}`}`;
}

function publicPath(path: string): string {
  return path === "_id" || path.startsWith("_id.") ? path.slice(1) : path;
}

function isKnown(path: string, allowed: readonly string[] | undefined): boolean {
  return allowed === undefined || path === "id" || allowed.some((each) => overlaps(path, each));
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
