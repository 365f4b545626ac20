import { LRUCache } from "lru-cache";
import { RE2JS } from "re2js";
import { RequestError } from "../errors.js";
import { checkLength, filterLimits } from "./limits.js";
import { translateRegex } from "./regex-translation.js";

/** Whether a text contains a match of the regular expression. */
export type RegexTest = (text: string) => boolean;

/** A filter is checked, then compiled, and often compiled again for another view. */
const compiled = new LRUCache<string, RegexTest>({ max: 200 });

/**
 * Compiles a regular expression as MongoDB (PCRE) understands it for an engine whose time is linear in the text.
 * What the two read differently is translated, or refused with the reason.
 *
 * @param options - any of i, m and s
 * @param at - where in the filter it stands, for the message
 * @throws RequestError `bad-filter` or `filter-too-large`
 */
export function compileRegex(pattern: string, options: string, at: string): RegexTest {
  const key = `${options}/${pattern}`;
  const known = compiled.get(key);
  if (known !== undefined) return known;
  const test = compileNew(pattern, options, at);
  compiled.set(key, test);
  return test;
}

function compileNew(pattern: string, options: string, at: string): RegexTest {
  checkLength("a regular expression", pattern.length, filterLimits.regexLength);
  if (!/^[ims]*$/.test(options)) throw refused(at, "the options can be i, m and s");
  const translated = translateRegex(pattern, options);
  if ("fault" in translated) throw refused(at, translated.fault);

  const { literal, anchored } = translated;
  if (literal !== undefined && !options.includes("i") && !(anchored && options.includes("m"))) {
    return anchored ? (text) => text.startsWith(literal) : (text) => text.includes(literal);
  }
  const engine = compileTranslated(translated.source, options, at);
  if (engine.programSize() > filterLimits.regexProgram || !isBounded(engine)) {
    throw new RequestError(
      400,
      "filter-too-large",
      `At ${at}: the regular expression has to keep track of too much: begin it with ^, or repeat less.`,
      { at },
    );
  }
  return (text) => engine.test(text);
}

/**
 * Builds the automaton of an expression completely. The engine would build it while it matches and, where it grows too
 * large, go on without it: still linear, but a hundred times slower, which a client could make it do with `a.{300}b`.
 *
 * @returns whether the automaton is small
 */
function isBounded(engine: RE2JS): boolean {
  const { dfa } = engine.re2();
  const unanchored = 0;
  const first: AutomatonState | null = dfa.start(beginning, 0);
  const open = [first];
  const seen = new Set(open);
  let work = 0;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    if (state === null || seen.size > filterLimits.regexStates) return false;
    work += (state.nfaStates.length + 1) * dfa.numClasses;
    if (work > filterLimits.regexWork) return false;
    for (let index = 0; index < dfa.numClasses; index += 1) {
      const character = index === 0 ? 0 : dfa.classBounds[index - 1];
      const next: AutomatonState | null = dfa.step(state, index, character, unanchored);
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
  return true;
}

/** The engine's view of the beginning of a text: the flags for the beginning of a line and of the text. */
const beginning = { context: () => 0x01 | 0x04 };

interface AutomatonState {
  readonly nfaStates: readonly number[];
}

function compileTranslated(source: string, options: string, at: string): RE2JS {
  let flags = 0;
  if (options.includes("i")) flags |= RE2JS.CASE_INSENSITIVE;
  if (options.includes("m")) flags |= RE2JS.MULTILINE;
  if (options.includes("s")) flags |= RE2JS.DOTALL;
  try {
    return RE2JS.compile(source, flags);
  } catch (error) {
    throw refused(at, error instanceof Error ? error.message : String(error), error);
  }
}

function refused(at: string, reason: string, cause?: unknown): RequestError {
  return new RequestError(
    400,
    "bad-filter",
    `At ${at}: the regular expression can't be used: ${reason}.`,
    { at },
    { cause },
  );
}
