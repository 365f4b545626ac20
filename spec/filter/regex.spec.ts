import { expect } from "chai";
import { RequestError } from "../../src/errors.js";
import { filterLimits } from "../../src/filter/limits.js";
import { compileRegex } from "../../src/filter/regex.js";

/** Pattern, options, texts that match, texts that do not: as PCRE answers them. */
const cases: [string, string, string[], string[]][] = [
  ["", "", ["", "x"], []],
  ["abc", "", ["abc", "xabcx"], ["ab", "ABC"]],
  ["^abc", "", ["abcd"], ["xabc", "x\nabc"]],
  ["^a\\.b", "", ["a.bc"], ["axb"]],
  ["^abc", "i", ["ABCd"], ["xabc"]],
  ["^abc", "m", ["x\nabc"], ["xabc"]],
  ["c$", "", ["abc", "abc\n"], ["abc\n\n", "c\nx"]],
  ["^$", "", ["", "\n"], ["\n\n", "x"]],
  ["(?:a|b)$", "", ["a\n", "xb"], ["ac"]],
  ["(a$|b)", "", ["a\n", "bc"], ["ac"]],
  ["c$", "m", ["c\nx", "c\n\n", "c"], ["cx"]],
  ["c\\z", "", ["abc"], ["abc\n"]],
  ["\\Aab", "m", ["abc"], ["x\nab"]],
  ["a.c", "", ["abc", "a\rc"], ["a\nc"]],
  ["a.c", "s", ["a\nc"], ["ac"]],
  ["\\s", "", [" ", "\t", "\n", "\v", "\f", "\r"], ["\u00a0", "x", "\u2028"]],
  ["^\\S$", "", ["x", "\u00a0"], ["\v"]],
  ["^[\\s,]+$", "", ["\v,"], ["x"]],
  ["^\\w+$", "", ["aZ_9"], ["é", "a-b"]],
  ["^\\w$", "i", ["K", "s"], ["\u212a", "\u017f"]],
  ["^[\\w.]+$", "i", ["a.B"], ["\u212a", "-"]],
  ["^k$", "i", ["K", "\u212a"], []],
  ["^[a-z]$", "i", ["K", "\u212a", "\u017f"], ["é"]],
  ["^\\W$", "i", ["\u212a", "-"], ["k"]],
  ["\\bé", "", ["aé"], ["é", " é"]],
  ["^É$", "i", ["é"], ["e"]],
  ["^\\d{2,3}$", "", ["12", "123"], ["1", "1234", "٣٣"]],
  ["a{0}b", "", ["b"], ["a"]],
  ["^a+?b??c*$", "", ["aab", "acc"], ["b"]],
  ["^[]a]+$", "", ["]a"], ["["]],
  ["^[^]a]$", "", ["b"], ["]", "a"]],
  ["^[a\\-z]$", "", ["-", "a"], ["b"]],
  ["^[a-]$", "", ["-", "a"], ["b"]],
  ["^[[(]$", "", ["[", "("], ["]"]],
  ["^[\\b]$", "", ["\b"], ["b"]],
  ["^\\x41\\x{e9}\\e\\a$", "", ["Aé\x1b\x07"], []],
  ["^\\/\\-\\_\\}}$", "", ["/-_}}"], []],
  ["^.$", "", ["é", "😀"], ["ab"]],
  ["^[😀-😃]$", "", ["😁"], ["😄"]],
  ["a|", "", ["", "b"], []],
  ["^(?:(a)|b)*c", "", ["abac", "c"], ["xc"]],
  ["^x|y", "m", ["a\nx", "ay"], ["ax"]],
];

const refused: [string, string, string][] = [
  ["(?=a)", "", "lookahead"],
  ["(?!a)", "", "lookahead"],
  ["(?<=a)b", "", "lookbehind"],
  ["(?<!a)b", "", "lookbehind"],
  ["(a)\\1", "", "references"],
  ["(?<n>a)\\k<n>", "", "(?:…)"],
  ["(?>a)", "", "atomic"],
  ["a++", "", "possessive"],
  ["(?i)a", "", "$options"],
  ["(?i:a)", "", "$options"],
  ["(*UCP)a", "", "(?:…)"],
  ["(?#x)", "", "(?:…)"],
  ["(?R)", "", ""],
  ["\\p{L}", "", "Unicode"],
  ["[[:alpha:]]", "", "[A-Za-z]"],
  ["\\Q.\\E", "", "\\Q"],
  ["\\h", "", "\\h"],
  ["\\R", "", "\\R"],
  ["\\K", "", "\\K"],
  ["\\Z", "", "\\Z"],
  ["\\G", "", "\\G"],
  ["\\v", "", "\\v"],
  ["\\012", "", "\\0"],
  ["a$b", "", "end"],
  ["a$\\n", "", "end"],
  ["(a$)+", "", "repeated"],
  ["^", "m", "at least one character"],
  ["^.*", "m", "at least one character"],
  ["a|^b?$", "m", "at least one character"],
  ["^*", "", "position"],
  ["\\b+", "", "position"],
  ["a**", "", "quantifier"],
  ["a{2}{3}", "", "quantifier"],
  ["*a", "", "repeats nothing"],
  ["a{", "", "repeats nothing"],
  ["a{,3}", "", "repeats nothing"],
  ["a{3,2}", "", "wrong order"],
  ["a{1001}", "", "1000"],
  ["(", "", "not closed"],
  [")", "", "opening"],
  ["[a", "", "not closed"],
  ["[z-a]", "", "wrong order"],
  ["[a-\\d]", "", "range"],
  ["[\\d-z]", "", "range"],
  ["[\\S]", "", "differently"],
  ["[^\\w]", "i", "differently"],
  ["\\", "", "backslash"],
  ["\\x4", "", "\\x"],
  ["\\x{110000}", "", "no character"],
  ["a", "g", "options"],
  ["a", "x", "options"],
  ["(".repeat(50) + ")".repeat(50), "", "20 times"],
];

/** Patterns whose automaton doubles with each repetition. */
const explosive = ["a[abc]{300}ccccc$", "a.{20}b", "(a|b)*a(a|b){12}cc", "[ab]{900}c{900}", "(?:[abc]?a){100}[xyz]"];

/** Patterns that take a backtracking engine exponential or quadratic time. */
const evil = [
  ...["^(a+)+$", "(a|aa)+$", "(a|a)*b", "(.*)*x", "(?:a?){50}a{50}$", "^(?:[a-z]+)*\\d$", "(x+x+)+y", ".*.*.*.*=.*"],
  ...["(?:[ab]*a){60}[^abc]", "([a-z]+)+[0-9]", "(a*)*(a*)*(a*)*c"],
];

describe("a regular expression", () => {
  for (const [pattern, options, yes, no] of cases) {
    it(`/${pattern}/${options} matches as in PCRE`, () => {
      const test = compileRegex(pattern, options, "here");
      for (const text of yes) expect(test(text), JSON.stringify(text)).to.equal(true);
      for (const text of no) expect(test(text), JSON.stringify(text)).to.equal(false);
    });
  }

  for (const [pattern, options, hint] of refused) {
    it(`/${pattern}/${options} is refused with the reason`, () => {
      expect(() => compileRegex(pattern, options, "filter.a"))
        .to.throw(RequestError, hint)
        .with.property("code", "bad-filter");
    });
  }

  for (const pattern of [
    "a".repeat(filterLimits.regexLength + 1),
    "(?:a{999}){9}",
    "(((a{10}){10}){10}){10}",
    ...explosive,
  ]) {
    it(`of the form ${pattern.slice(0, 30)} is refused as too large, in good time`, () => {
      const started = performance.now();
      expect(() => compileRegex(pattern, "", "filter.a"))
        .to.throw(RequestError)
        .with.property("status", 400);
      expect(performance.now() - started).to.be.below(3_000);
    });
  }

  for (const pattern of evil) {
    it(`${pattern} holds nobody up on a text that makes others backtrack (hazard 30)`, () => {
      const test = compileRegex(pattern, "", "filter.a");
      for (const text of ["a", "x", "ab", "aaab="].map((part) => `${part.repeat(100_000 / part.length)}!`)) {
        const started = performance.now();
        test(text);
        expect(performance.now() - started).to.be.below(3_000);
      }
    });
  }
});
