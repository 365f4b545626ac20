import { existsSync, readFileSync } from "node:fs";
import { extname, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
  type Document as YamlDocument,
} from "yaml";
import { redact } from "../log.js";
import { defaults } from "./defaults.js";
import type { Problem } from "./problems.js";

const moduleExtensions = [".js", ".mjs", ".cjs", ".ts", ".mts"];

/** What a configuration says, before anything in it is checked, and how to name a place in it. */
export interface RawOptions {
  readonly value: unknown;
  /** Whether it can hold functions, as a module and embedding code can. */
  readonly isCode: boolean;
  /** @returns the source's name, with line and column of the value at `path` where they are known */
  locate(path: readonly PropertyKey[]): string;
}

/**
 * Reads a configuration file: YAML, JSON, or the default export of a module.
 *
 * @param wanted - the file's path as it was configured, or undefined to take `tailgate.config.yaml` if it is there
 * @param workingDirectory - where relative paths begin
 * @param problems - receives what is wrong with the file
 * @returns its content and absolute path; undefined where there is no file, or none that can be read
 */
export async function readConfigurationFile(
  wanted: string | undefined,
  workingDirectory: string,
  problems: Problem[],
): Promise<{ options: RawOptions; file: string } | undefined> {
  const file = resolve(workingDirectory, wanted ?? defaults.configurationFile);
  if (wanted === undefined && !existsSync(file)) return undefined;
  const source = nameOf(file, workingDirectory);
  const options = await readAny(file, source, problems);
  return options === undefined ? undefined : { options, file };
}

async function readAny(file: string, source: string, problems: Problem[]): Promise<RawOptions | undefined> {
  const extension = extname(file).toLowerCase();
  const isModule = moduleExtensions.includes(extension);
  if (!isModule && ![".yaml", ".yml", ".json"].includes(extension)) {
    problems.push({
      source,
      message: `a configuration file ends in .yaml, .yml, .json or, for a module, ${moduleExtensions.join(", ")}`,
    });
    return undefined;
  }
  let text: string;
  try {
    text = readFileSync(file, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    problems.push({ source, message: unreadable(error) });
    return undefined;
  }
  if (isModule) return importModule(file, source, problems);
  return extension === ".json" ? parseJson(text, source, problems) : parseYaml(text, source, problems);
}

function nameOf(file: string, workingDirectory: string): string {
  const name = relative(workingDirectory, file);
  return name.startsWith("..") ? file : name;
}

function unreadable(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
  if (code === "ENOENT") return "there is no such file; correct the path, or leave it out to do without a file";
  if (code === "EISDIR") return "this is a directory; name the file in it";
  if (code === "EACCES") return "this user may not read the file; change its permissions or its owner";
  return `the file can't be read (${code})`;
}

function parseYaml(text: string, source: string, problems: Problem[]): RawOptions | undefined {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    prettyErrors: false,
    lineCounter: lines,
    stringKeys: true,
    // "silent" would leave the documents after the first unsaid.
    logLevel: "error",
  });
  const found = [...document.errors, ...document.warnings];
  for (const fault of found) {
    problems.push({
      source: place(source, lines, fault.pos[0]),
      message: `invalid YAML: ${faults.get(fault.code) ?? otherFault}`,
    });
  }
  if (found.length > 0) return undefined;
  try {
    // An empty file, or one of comments alone, configures nothing.
    const value: unknown = document.toJS() ?? {};
    return { value, isCode: false, locate: (path) => place(source, lines, offsetOf(document, path)) };
  } catch (error) {
    // Aliases are resolved only here. The parser's message would quote the name, which may be a secret without quotes.
    if (!(error instanceof ReferenceError)) throw error;
    problems.push({
      source,
      message:
        "invalid YAML: an alias without its anchor, or too many of them; a text that begins with * stands in quotes",
    });
    return undefined;
  }
}

const otherFault = "this can't be read; a text with characters that mean something in YAML stands in quotes";

/** What is wrong, by the parser's code. Its own messages quote the text, which may be a secret. */
const faults: ReadonlyMap<YAMLError["code"], string> = new Map([
  ["BAD_DIRECTIVE", "directives are not known here; a text that begins with % stands in quotes"],
  ["BAD_DQ_ESCAPE", "there is no such escape; in double quotes \\ is written \\\\, in single quotes as it is"],
  ["BAD_INDENT", "the indentation does not fit, or a bracket or brace is not closed"],
  ["BAD_SCALAR_START", "a text that begins with @ or ` stands in quotes"],
  ["BLOCK_AS_IMPLICIT_KEY", "there is a second key on the line; a text with a colon and a space stands in quotes"],
  ["DUPLICATE_KEY", "the same key is there twice; keep one"],
  ["MISSING_CHAR", "something is not closed, or a colon or a comma is missing"],
  ["MULTIPLE_DOCS", "a second document begins here; all of the configuration is in one"],
  ["TAB_AS_INDENT", "lines are indented with spaces, not with tabs"],
  ["TAG_RESOLVE_FAILED", "tags are not known here; a text that begins with ! stands in quotes"],
]);

/** JSON.parse decides. Its messages quote the text, so the YAML parser, of whose language JSON is a part, says where. */
function parseJson(text: string, source: string, problems: Problem[]): RawOptions | undefined {
  const lines = new LineCounter();
  const document = parseDocument(text, { prettyErrors: false, lineCounter: lines, logLevel: "silent" });
  const fault = document.errors[0];
  try {
    const value: unknown = JSON.parse(text);
    if (fault?.code === "DUPLICATE_KEY") {
      problems.push({ source: place(source, lines, fault.pos[0]), message: "the same key is there twice; keep one" });
      return undefined;
    }
    return {
      value,
      isCode: false,
      locate: (path) => (fault === undefined ? place(source, lines, offsetOf(document, path)) : source),
    };
  } catch (error) {
    const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    const offset = position === undefined ? fault?.pos[0] : Number(position);
    problems.push({
      source: place(source, lines, offset),
      message:
        "invalid JSON: keys and texts stand in double quotes, commas only between items, and there are no comments",
    });
    return undefined;
  }
}

async function importModule(file: string, source: string, problems: Problem[]): Promise<RawOptions | undefined> {
  try {
    const module = (await import(pathToFileURL(file).href)) as { default?: unknown };
    if (module.default !== undefined) return { value: module.default, isCode: true, locate: () => source };
    problems.push({ source, message: "the module has no default export; write `export default { interfaces: … }`" });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    problems.push({
      source,
      message:
        code === "ERR_UNKNOWN_FILE_EXTENSION"
          ? "this Node can't load TypeScript by itself; start it with `node --import tsx`, or use a .js module"
          : `the module failed to load: ${redact(error instanceof Error ? error.message : String(error))}`,
    });
  }
  return undefined;
}

function place(source: string, lines: LineCounter, offset: number | undefined): string {
  if (offset === undefined) return source;
  const { line, col } = lines.linePos(offset);
  return line === 0 ? source : `${source}:${line}:${col}`;
}

/** @returns where the value at `path` begins, or its key, or the nearest thing around it that is there */
function offsetOf(document: YamlDocument.Parsed, path: readonly PropertyKey[]): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(step));
      if (pair === undefined) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      offset = (node as Node | undefined)?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}
