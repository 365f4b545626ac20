/**
 * Reads the part of PCRE's syntax that a linear-time engine can match with the same result, and writes it in RE2's.
 *
 * Where the two differ (https://www.pcre.org/current/doc/html/pcre2pattern.html and
 * https://github.com/google/re2/wiki/Syntax):
 * - `$` without `m` also matches before a newline that ends the text; in RE2 at the very end only.
 * - `^` with `m` does not match after a newline that ends the text; in RE2 it does.
 * - `\s` includes the vertical tab; in RE2 it does not.
 * - `\w` with `i` stays ASCII; the engine folds U+017F and U+212A into it.
 */
export function translateRegex(pattern: string, options: string): Translation | { readonly fault: string } {
  const reader: Reader = {
    pattern,
    at: 0,
    depth: 0,
    ignoreCase: options.includes("i"),
    multiline: options.includes("m"),
  };
  try {
    const node = readAlternatives(reader);
    if (reader.at < pattern.length) throw new Fault("a closing parenthesis has no opening one");
    if (node.needsMore) {
      throw new Fault("with the option m, ^ must be followed by something that takes at least one character");
    }
    return { source: node.source, literal: node.literal, anchored: node.anchored };
  } catch (error) {
    if (error instanceof Fault) return { fault: error.message };
    throw error;
  }
}

export interface Translation {
  /** The expression in RE2's syntax. */
  readonly source: string;
  /** Where the expression is nothing but text, perhaps after one `^`: that text. */
  readonly literal: string | undefined;
  readonly anchored: boolean;
}

interface Node {
  readonly source: string;
  /** Characters that a match of the node takes at least. */
  readonly least: number;
  /** Has a translated `$`, which is right only where nothing follows. */
  readonly ends: boolean;
  /** Has a `^` with nothing behind it yet that must take a character. */
  readonly needsMore: boolean;
  readonly literal: string | undefined;
  readonly anchored: boolean;
}

interface Reader {
  readonly pattern: string;
  at: number;
  depth: number;
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
}

class Fault extends Error {}

const plain = { least: 0, ends: false, needsMore: false, literal: undefined, anchored: false } as const;
const maxRepeat = 1_000;
const maxGroups = 20;

function readAlternatives(reader: Reader): Node {
  const branches = [readSequence(reader)];
  while (reader.pattern[reader.at] === "|") {
    reader.at += 1;
    branches.push(readSequence(reader));
  }
  const [only] = branches;
  if (only !== undefined && branches.length === 1) return only;
  return {
    ...plain,
    source: branches.map((branch) => branch.source).join("|"),
    least: Math.min(...branches.map((branch) => branch.least)),
    ends: branches.some((branch) => branch.ends),
    needsMore: branches.some((branch) => branch.needsMore),
  };
}

function readSequence(reader: Reader): Node {
  const items: Node[] = [];
  while (reader.at < reader.pattern.length && !"|)".includes(reader.pattern.charAt(reader.at))) {
    items.push(readQuantified(reader));
  }
  if (items.slice(0, -1).some((item) => item.ends)) {
    throw new Fault("$ can only stand at the end; use \\n for a newline inside of the text");
  }
  let least = 0;
  let needsMore = false;
  for (const item of items.toReversed()) {
    needsMore ||= item.needsMore && least === 0;
    least += item.least;
  }
  const anchored = items[0]?.anchored === true;
  const texts = (anchored ? items.slice(1) : items).map((item) => (item.anchored ? undefined : item.literal));
  return {
    source: items.map((item) => item.source).join(""),
    least,
    ends: items.at(-1)?.ends === true,
    needsMore,
    literal: texts.includes(undefined) ? undefined : texts.join(""),
    anchored,
  };
}

function readQuantified(reader: Reader): Node {
  const start = reader.pattern.charAt(reader.at);
  const atom = readAtom(reader);
  const quantifier = /^(?:[*+?]|\{(\d+)(,(\d*))?\})/.exec(reader.pattern.slice(reader.at));
  if (quantifier === null) return atom;
  if ("^$".includes(start) || /^\\[bBAz]/.test(reader.pattern.slice(reader.at - 2))) {
    throw new Fault("a position such as ^, $ or \\b can't be repeated");
  }
  const [text, lowText, comma, highText] = quantifier;
  reader.at += text.length;
  const low = lowText === undefined ? (text === "+" ? 1 : 0) : Number(lowText);
  const high =
    lowText === undefined ? (text === "?" ? 1 : Infinity) : comma === undefined ? low : Number(highText || Infinity);
  if (low > high) throw new Fault(`the range in ${text} is in the wrong order`);
  if (low > maxRepeat || (high > maxRepeat && high !== Infinity)) {
    throw new Fault(`something can be repeated ${maxRepeat} times at most`);
  }
  if (atom.ends && high > 1) throw new Fault("a group that ends with $ can't be repeated");
  const next = reader.pattern.charAt(reader.at);
  if (next === "+") throw new Fault("possessive quantifiers such as a++ have no linear-time form");
  if (next === "?") reader.at += 1;
  else if (next === "*" || /^\{\d+(?:,\d*)?\}/.test(reader.pattern.slice(reader.at))) {
    throw new Fault("a quantifier can't follow another one");
  }
  return {
    ...plain,
    source: atom.source + text + (next === "?" ? "?" : ""),
    least: atom.least * low,
    ends: atom.ends,
    needsMore: atom.needsMore,
  };
}

function readAtom(reader: Reader): Node {
  const character = String.fromCodePoint(reader.pattern.codePointAt(reader.at) ?? 0);
  if (character === "\\") return readEscape(reader);
  if (character === "(") return readGroup(reader);
  if (character === "[") return readClass(reader);
  reader.at += character.length;
  if (character === "^") {
    return { ...plain, source: "^", needsMore: reader.multiline, literal: "", anchored: true };
  }
  if (character === "$") {
    return reader.multiline ? { ...plain, source: "$" } : { ...plain, source: "(?:\\n?\\z)", ends: true };
  }
  if (character === ".") return { ...plain, source: ".", least: 1 };
  if ("*+?{".includes(character))
    throw new Fault(`${character} repeats nothing; write \\${character} for the character`);
  return literalNode(character);
}

function readGroup(reader: Reader): Node {
  const rest = reader.pattern.slice(reader.at);
  if (rest.startsWith("(?") || rest.startsWith("(*")) {
    if (!rest.startsWith("(?:")) throw new Fault(faultOfGroup(rest));
    reader.at += 2;
  }
  reader.at += 1;
  reader.depth += 1;
  if (reader.depth > maxGroups) throw new Fault(`groups can be within one another ${maxGroups} times at most`);
  const inner = readAlternatives(reader);
  if (reader.pattern[reader.at] !== ")") throw new Fault("a group is not closed");
  reader.at += 1;
  reader.depth -= 1;
  return { ...inner, source: `(?:${inner.source})`, literal: undefined, anchored: false };
}

function faultOfGroup(rest: string): string {
  if (/^\(\?<?[=!]/.test(rest)) return "lookahead and lookbehind have no linear-time form";
  if (rest.startsWith("(?>")) return "atomic groups have no linear-time form";
  if (/^\(\?[a-zA-Z^-]+[:)]/.test(rest)) return "options inside of the pattern are not supported; put them in $options";
  return "of the groups that begin with (? or (*, only (?:…) is supported";
}

/** `\x0B` is the vertical tab, which RE2's own `\s` lacks. */
const spaces = "\\t\\n\\x0B\\f\\r ";

function readEscape(reader: Reader): Node {
  const name = reader.pattern.charAt(reader.at + 1);
  switch (name) {
    case "d":
    case "D":
      reader.at += 2;
      return { ...plain, source: `\\${name}`, least: 1 };
    case "w":
    case "W":
      reader.at += 2;
      return { ...plain, source: reader.ignoreCase ? `(?-i:\\${name})` : `\\${name}`, least: 1 };
    case "s":
    case "S":
      reader.at += 2;
      return { ...plain, source: name === "s" ? `[${spaces}]` : `[^${spaces}]`, least: 1 };
    case "b":
    case "B":
    case "A":
    case "z":
      reader.at += 2;
      return { ...plain, source: `\\${name}` };
    default:
      return literalNode(readEscapedCharacter(reader));
  }
}

/** Reads an escape that stands for one character, the same inside of a class and outside. */
function readEscapedCharacter(reader: Reader): string {
  const rest = reader.pattern.slice(reader.at + 1);
  const controls: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", f: "\f", a: "\x07", e: "\x1b" };
  const name = rest.charAt(0);
  const control = Object.hasOwn(controls, name) ? controls[name] : undefined;
  if (control !== undefined) {
    reader.at += 2;
    return control;
  }
  const hex = /^x(?:([0-9a-f]{2})|\{([0-9a-f]{1,6})\})/i.exec(rest);
  if (hex !== null) {
    const code = Number.parseInt(hex[1] ?? hex[2] ?? "", 16);
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw new Fault(`\\${hex[0]} is no character`);
    reader.at += 1 + hex[0].length;
    return String.fromCodePoint(code);
  }
  if (rest === "") throw new Fault("it ends with a backslash");
  if (/^[1-9]|^[gk]/.test(rest)) throw new Fault("references to groups have no linear-time form");
  if (/^[pP]/.test(rest))
    throw new Fault("\\p depends on the Unicode version of the engine; write a class such as [à-ÿ]");
  if (/^[0-9A-Za-z]/.test(rest)) throw new Fault(`\\${name} is not supported`);
  const character = String.fromCodePoint(rest.codePointAt(0) ?? 0);
  reader.at += 1 + character.length;
  return character;
}

function readClass(reader: Reader): Node {
  reader.at += 1;
  const negated = reader.pattern[reader.at] === "^";
  if (negated) reader.at += 1;
  let members = "";
  let words = false;
  for (let first = true; first || reader.pattern[reader.at] !== "]"; first = false) {
    if (reader.at >= reader.pattern.length) throw new Fault("a class is not closed");
    const shorthand = /^\\([dDwWsS])/.exec(reader.pattern.slice(reader.at))?.[1];
    if (shorthand === undefined) {
      members += readMember(reader);
      continue;
    }
    reader.at += 2;
    if (
      shorthand === "S" ||
      (shorthand === "W" && reader.ignoreCase) ||
      (shorthand === "w" && reader.ignoreCase && negated)
    ) {
      throw new Fault(`\\${shorthand} in this class would match differently; write the characters out`);
    }
    if (shorthand === "w" && reader.ignoreCase) words = true;
    else members += shorthand === "s" ? spaces : `\\${shorthand}`;
    if (/^-[^\]]/.test(reader.pattern.slice(reader.at))) throw new Fault("a class such as \\w can't begin a range");
  }
  reader.at += 1;
  const source = `[${negated ? "^" : ""}${members}]`;
  if (!words) return { ...plain, source, least: 1 };
  return { ...plain, source: members === "" ? "(?-i:\\w)" : `(?:(?-i:\\w)|${source})`, least: 1 };
}

function readMember(reader: Reader): string {
  const low = readMemberCharacter(reader);
  if (!/^-[^\]]/.test(reader.pattern.slice(reader.at))) return quoted(low);
  reader.at += 1;
  if (/^\\[dDwWsS]/.test(reader.pattern.slice(reader.at)))
    throw new Fault("a range can't end with a class such as \\w");
  const high = readMemberCharacter(reader);
  if ((low.codePointAt(0) ?? 0) > (high.codePointAt(0) ?? 0))
    throw new Fault(`the range ${low}-${high} is in the wrong order`);
  return `${quoted(low)}-${quoted(high)}`;
}

function readMemberCharacter(reader: Reader): string {
  const rest = reader.pattern.slice(reader.at);
  if (/^\[[:.=]/.test(rest)) throw new Fault("classes such as [:alpha:] are not supported; write [A-Za-z]");
  if (rest.startsWith("\\b")) {
    reader.at += 2;
    return "\b";
  }
  if (rest.startsWith("\\")) return readEscapedCharacter(reader);
  const character = String.fromCodePoint(rest.codePointAt(0) ?? 0);
  reader.at += character.length;
  return character;
}

function literalNode(character: string): Node {
  return { ...plain, source: quoted(character), least: 1, literal: character };
}

function quoted(character: string): string {
  if (/^[!-/:-@[-`{-~]$/.test(character)) return `\\${character}`;
  const code = character.charCodeAt(0);
  return code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, "0")}` : character;
}
