import type { z } from "zod";
import { redact } from "../log.js";
import type { RawOptions } from "./file.js";
import { interfaceNameProblem } from "./names.js";
import { formatPath, nearest, type Problem } from "./problems.js";
import { isPlainObject } from "./rule.js";
import { type CheckedOptions, knownKeys, optionsSchema } from "./schema.js";

/** Names that other tools give to a key, too far from it for a spelling. */
const synonyms: Readonly<Record<string, string>> = {
  mongodbUri: "mongo",
  mongodbURI: "mongo",
  mongoUri: "mongo",
  mongoUrl: "mongo",
  mongodb: "mongo",
  database: "mongo",
  uri: "mongo",
  cors: "allowedOrigins",
  origins: "allowedOrigins",
  jwksUri: "jwksUrl",
  jwks_uri: "jwksUrl",
  table: "collection",
  projection: "fields",
};

/**
 * Checks a whole configuration.
 *
 * @param options - as read from a file or given by embedding code
 * @param problems - receives all that is wrong
 * @returns the configuration with its types, or undefined when something is wrong
 */
export function validateOptions(options: RawOptions, problems: Problem[]): CheckedOptions | undefined {
  const before = problems.length;
  const hasTaskList = isPlainObject(options.value) && Array.isArray(options.value.tasks);
  const value = hasTaskList
    ? { ...(options.value as object), tasks: { definitions: (options.value as { tasks: unknown }).tasks } }
    : options.value;
  const report = (path: readonly PropertyKey[], message: string): void => {
    // The long form of `tasks` is how they are checked, not always how they were written.
    const written = hasTaskList && path[1] === "definitions" ? [path[0] as PropertyKey, ...path.slice(2)] : path;
    const problem = {
      source: options.locate(written),
      message,
      ...(written.length > 0 && { path: formatPath(written) }),
    };
    if (!problems.some((other) => other.path === problem.path && other.message === message)) problems.push(problem);
  };
  const result = optionsSchema.safeParse(value);
  for (const issue of result.error?.issues ?? []) reportIssue(issue, value, report);
  reportInterfaceNames(value, report);
  reportTaskDefinitions(value, options.isCode, report);
  return problems.length > before ? undefined : result.data;
}

type Report = (path: readonly PropertyKey[], message: string) => void;

function reportIssue(issue: z.core.$ZodIssue, value: unknown, report: Report): void {
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(optionsSchema, issue.path);
    for (const key of issue.keys) {
      // `secret:value` is all key, so what follows a colon is told no more than a value would be.
      if (key.includes(":")) report(issue.path, "an unknown key with a colon; is a space missing after it?");
      else report([...issue.path, key], unknownKey(key, known));
    }
  } else {
    report(issue.path, `${issue.message}${instead(valueAt(value, issue.path), issue)}`);
  }
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant =
    Object.hasOwn(synonyms, key) && known.includes(synonyms[key] ?? "") ? synonyms[key] : nearest(key, known);
  if (meant !== undefined) return `unknown key; did you mean \`${meant}\`?`;
  const elsewhere = ["auth", "auth.jwt", "history", "limits", "tasks", "http", ""].find((group) =>
    knownKeys(optionsSchema, group === "" ? [] : group.split(".")).includes(key),
  );
  if (elsewhere !== undefined) {
    return elsewhere === ""
      ? "unknown key here; it belongs at the top level"
      : `unknown key here; it belongs under \`${elsewhere}\``;
  }
  return `unknown key; known here are ${known.join(", ")}`;
}

/**
 * What was written in place of what would be right: the value itself only where a number, a word or a switch belongs,
 * for a secret in the wrong place is still one.
 */
function instead(value: unknown, issue: z.core.$ZodIssue): string {
  if (issue.code === "custom" && value !== undefined && !isShown(issue.path)) return "";
  if (value === undefined) return "";
  if (value === null) return ", not null (is a value missing after the colon?)";
  if (isShown(issue.path) && ["string", "number", "boolean"].includes(typeof value)) {
    const text = redact(JSON.stringify(value));
    return `, not ${text.length > 60 ? `${text.slice(0, 57)}…` : text}`;
  }
  if (issue.code !== "invalid_type" && issue.code !== "invalid_union") return "";
  const kind = Array.isArray(value) ? "a list" : typeof value === "object" ? "a group of keys" : `a ${typeof value}`;
  return `, not ${kind}`;
}

const shownTexts = new Set(["host", "logLevel", "allowedOrigins"]);
const plainGroups = new Set(["history", "limits", "tasks", "executors", "metrics", "api", "shutdown"]);

function isShown(path: readonly PropertyKey[]): boolean {
  const [first, second] = path;
  if (first === "port" || shownTexts.has(String(first))) return true;
  if (first === "auth") return second === "anonymous" || second === "closeCode" || second === "queryToken";
  if (first === "http") return second !== undefined && second !== "userAgent";
  return plainGroups.has(String(first)) && second !== undefined && second !== "definitions";
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const step of path) {
    if (typeof inner !== "object" || inner === null || !Object.hasOwn(inner, step)) return undefined;
    inner = (inner as Record<PropertyKey, unknown>)[step];
  }
  return inner;
}

function reportInterfaceNames(value: unknown, report: Report): void {
  const interfaces = valueAt(value, ["interfaces"]);
  if (!isPlainObject(interfaces)) return;
  for (const name of Object.keys(interfaces)) {
    const message = interfaceNameProblem(name);
    if (message !== undefined) report(["interfaces", name], message);
  }
}

function reportTaskDefinitions(value: unknown, isCode: boolean, report: Report): void {
  const definitions = valueAt(value, ["tasks", "definitions"]);
  if (!Array.isArray(definitions)) return;
  if (!isCode) {
    report(["tasks", "definitions"], "tasks are functions: they can only come from a module or from embedding code");
    return;
  }
  const seen = new Set<unknown>();
  for (const [index, definition] of definitions.entries()) {
    const name = valueAt(definition, ["name"]);
    if (seen.has(name))
      report(["tasks", "definitions", index], `a second task is named ${JSON.stringify(name)}; names must differ`);
    seen.add(name);
  }
}
