import { RE2JS } from "re2js";
import { RequestError } from "../errors.js";
import { checkLength, filterLimits } from "./limits.js";
import { translateRegex } from "./regex-translation.js";

/** Whether a text contains a match of the regular expression. */
export type RegexTest = (text: string) => boolean;

/**
 * Compiles a regular expression as MongoDB (PCRE) understands it for an engine whose time is linear in the text.
 * What the two read differently is translated, or refused with the reason.
 *
 * @param options - any of i, m and s
 * @param at - where in the filter it stands, for the message
 * @throws RequestError `bad-filter` or `filter-too-large`
 */
export function compileRegex(pattern: string, options: string, at: string): RegexTest {
  checkLength("a regular expression", pattern.length, filterLimits.regexLength);
  if (!/^[ims]*$/.test(options)) throw refused(at, "the options can be i, m and s");
  const translated = translateRegex(pattern, options);
  if ("fault" in translated) throw refused(at, translated.fault);

  const { literal, anchored } = translated;
  if (literal !== undefined && !options.includes("i") && !(anchored && options.includes("m"))) {
    return anchored ? (text) => text.startsWith(literal) : (text) => text.includes(literal);
  }
  const engine = compileTranslated(translated.source, options, at);
  if (engine.programSize() > filterLimits.regexProgram) {
    throw new RequestError(400, "filter-too-large", `At ${at}: the regular expression repeats too much.`, { at });
  }
  return (text) => engine.test(text);
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
