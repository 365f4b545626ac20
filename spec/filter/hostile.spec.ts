import { expect } from "chai";
import { RequestError } from "../../src/errors.js";
import { compileFilter } from "../../src/filter/compile.js";
import { filterLimits } from "../../src/filter/limits.js";
import { parseFilter, parseFilterText } from "../../src/filter/parse.js";

/** Runs `parse`, which has to be refused with `code`, soon; the bound leaves room for a busy machine. */
function expectRefusal(code: string, parse: () => unknown): void {
  const started = performance.now();
  expect(parse).to.throw(RequestError).with.property("code", code);
  expect(performance.now() - started, "milliseconds").to.be.below(3_000);
}

const levels = 20_000;
const nested = (open: string, close: string) => JSON.parse(`${open.repeat(levels)}1${close.repeat(levels)}`) as unknown;

describe("a hostile filter (hazards 30, 31 and 37)", () => {
  for (const [open, close] of [
    ['{"$and":[', "]}"],
    ['{"a":{"$not":', "}}"],
    ['{"a":{"$elemMatch":', "}}"],
    ['{"a":', "}"],
  ] as const) {
    it(`of ${levels} levels of ${open} is refused without a stack to overflow`, () => {
      const input = nested(open, close);
      expectRefusal("filter-too-deep", () => parseFilter(input));
      expectRefusal("filter-too-deep", () => parseFilter({ a: { $in: [input] } }));
    });
  }

  it("of lists within lists is refused", () => {
    const lists = nested("[", "]");
    expectRefusal("filter-too-deep", () => parseFilter({ a: lists }));
    expectRefusal("filter-too-large", () =>
      parseFilterText(`{"a":${"[".repeat(60_000)}`.padEnd(filterLimits.text + 1)),
    );
    expectRefusal("bad-filter", () => parseFilterText(`{"a":${"[".repeat(60_000)}`));
  });

  it("may have the allowed depth", () => {
    const depth = (count: number): unknown => (count === 1 ? { a: 1 } : { $nor: [depth(count - 2)] });
    expect(parseFilter(depth(filterLimits.depth - 1)).paths).to.eql(["a"]);
    expectRefusal("filter-too-deep", () => parseFilter(depth(filterLimits.depth + 1)));
  });

  it("of 100,000 terms is refused", () => {
    const many = Array.from({ length: 100_000 }, (_, index) => index);
    const fields = Object.fromEntries(many.map((index) => [`f${index}`, index]));
    const branches = many.map((index) => ({ a: index }));
    for (const input of [fields, { a: { $in: many } }, { $or: branches }, { a: fields }, { a: { $in: branches } }]) {
      expectRefusal("filter-too-large", () => parseFilter(input));
    }
  });

  it("may have the allowed number of terms", () => {
    const list = (length: number) => ({
      a: { $in: Array.from({ length }, (_, index) => ({ $numberLong: `${index}` })) },
    });
    expect(parseFilter(list(filterLimits.terms - 1)).paths).to.eql(["a"]);
    expectRefusal("filter-too-large", () => parseFilter(list(filterLimits.terms)));
  });

  it("with long strings, keys, paths, expressions or sorts is refused", () => {
    expectRefusal("filter-too-large", () => parseFilter({ a: "x".repeat(filterLimits.stringLength + 1) }));
    expectRefusal("filter-too-large", () => parseFilter({ a: { $in: [{ b: "x".repeat(1_000_000) }] } }));
    expectRefusal("filter-too-large", () => parseFilter({ ["k".repeat(filterLimits.pathLength + 1)]: 1 }));
    expectRefusal("filter-too-large", () => parseFilter({ a: { $regex: "x".repeat(filterLimits.regexLength + 1) } }));
    expectRefusal("filter-too-large", () => parseFilterText(" ".repeat(1_000_000)));
    const regexes = Array.from({ length: filterLimits.regexes + 1 }, (_, index) => ({ a: { $regex: `x${index}` } }));
    expectRefusal("filter-too-large", () => parseFilter({ $or: regexes }));
    expect(parseFilter({ a: "x".repeat(filterLimits.stringLength) }).paths).to.eql(["a"]);
  });

  it("takes no time to speak of where everything is as large as it may be", () => {
    const regexes = Array.from({ length: filterLimits.regexes }, (_, index) => ({
      a: { $regex: `(?:[ab]{0,2${index}}){9}c` },
    }));
    const started = performance.now();
    try {
      compileFilter(parseFilter({ $or: regexes }))({ a: "ab".repeat(1_000) });
    } catch (error) {
      expect(error).to.be.instanceOf(RequestError);
    }
    expect(performance.now() - started).to.be.below(3_000);
  });

  it("leaves Object.prototype alone and is not misled by it", () => {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const hostile = [
      ...['{"__proto__": {"polluted": 1}}', '{"a": {"__proto__": {"polluted": 1}}}', '{"a.__proto__.polluted": 1}'],
      ...['{"constructor": {"prototype": {"polluted": 1}}}', '{"a": {"$elemMatch": {"__proto__": 1}}}'],
      ...[
        '{"$or": [{"__proto__": {"$gt": 1}}]}',
        '{"a": {"$in": [{"__proto__": 1}]}}',
        '{"a": {"$__proto__": 1}}',
        '{"a": {"b": {"prototype": 1}}}',
      ],
    ];
    for (const text of hostile)
      expectRefusal(text.includes("$__proto__") ? "operator-not-supported" : "bad-filter", () => parseFilterText(text));
    expect(Object.getOwnPropertyNames(Object.prototype)).to.eql(before);
    expect(({} as Record<string, unknown>).polluted).to.equal(undefined);
    for (const name of before.filter((each) => each !== "__proto__" && each !== "constructor")) {
      expect(compileFilter(parseFilter({ [name]: { $exists: true } }))({}), name).to.equal(false);
      expect(compileFilter(parseFilter({ [`a.${name}`]: { $exists: true } }))({ a: {} }), name).to.equal(false);
      expect(compileFilter(parseFilter({ [`${name}.b`]: 1 }))(JSON.parse(`{"${name}": {"b": 1}}`)), name).to.equal(
        true,
      );
    }
  });

  it("can't smuggle in operators of the prototype of the table of operators", () => {
    for (const name of ["$toString", "$constructor", "$hasOwnProperty", "$__proto__", "$"]) {
      expectRefusal("operator-not-supported", () => parseFilter({ a: { [name]: 1 } }));
      expectRefusal("operator-not-supported", () => parseFilter({ [name]: 1 }));
    }
  });
});
