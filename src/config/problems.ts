import { ConfigurationError } from "../errors.js";

/** One thing that is wrong with the configuration: where, what, and what would be right. Never the value of a secret. */
export interface Problem {
  /** A file, perhaps with line and column, `the environment`, `the command line` or `createGateway(options)`. */
  readonly source: string;
  /** A path such as `interfaces.jobs.fields[0]`, a variable's or a flag's name. Absent: the source as a whole. */
  readonly path?: string;
  readonly message: string;
}

/** @throws {ConfigurationError} that lists all problems at once; nothing when there are none */
export function throwProblems(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const lines = problems.map(({ source, path, message }) =>
    path === undefined ? `${source}: ${message}` : `${source}: ${path}: ${message}`,
  );
  if (lines.length === 1) throw new ConfigurationError(`The configuration can't be used. ${lines[0]}`);
  const list = lines.map((line) => `\n  - ${line}`).join("");
  throw new ConfigurationError(`The configuration can't be used, for ${lines.length} reasons:${list}`);
}

/** @returns a path as a person would write it: `interfaces.jobs.read["user.id"]` */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (!/^[\w-]+$/.test(String(step))) text += `[${JSON.stringify(String(step))}]`;
    else text += text === "" ? String(step) : `.${String(step)}`;
  }
  return text;
}

/**
 * @param word - what was written
 * @param known - what could have been meant
 * @returns the nearest of `known`, or undefined when none is near enough to be worth naming
 */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const written = plain(word);
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = isBeginning(written, plain(candidate)) ? 1 : editDistance(written, plain(candidate));
    if (best === undefined || distance < best.distance) best = { word: candidate, distance };
  }
  const most = Math.max(1, Math.floor(Math.max(written.length, best?.word.length ?? 0) / 3));
  return best !== undefined && best.distance <= most ? best.word : undefined;
}

/** Case, hyphens and underscores are what people mix up most: they do not count as differences. */
function plain(word: string): string {
  return word.toLowerCase().replace(/[-_ ]/g, "");
}

/** `warning` for `warn`, `conn` for `connections`. */
function isBeginning(left: string, right: string): boolean {
  return Math.min(left.length, right.length) >= 4 && (left.startsWith(right) || right.startsWith(left));
}

/** Levenshtein's distance with swaps: how many characters to insert, remove, replace or swap with their neighbour. */
function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const replace = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      const isSwap = row > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      const swap = isSwap ? (beforePrevious[column - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY;
      current.push(Math.min(replace, swap, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[right.length] ?? 0;
}
