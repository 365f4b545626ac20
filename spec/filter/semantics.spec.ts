import { expect } from "chai";
import { BSON, type Document } from "mongodb";
import { compileFilter } from "../../src/filter/compile.js";
import { parseFilter } from "../../src/filter/parse.js";

const { Binary, BSONRegExp, BSONSymbol, Code, DBRef, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId } = BSON;

/** Filters, each with documents that match and documents that do not. */
type Table = Record<string, readonly { filter: Document; yes?: readonly Document[]; no?: readonly Document[] }[]>;

const long = (text: string) => Long.fromString(text);
const decimal = (text: string) => Decimal128.fromString(text);

/** What MongoDB's manual and its own tests say (jstests/core/null_query_semantics.js for null). */
const tables: Table = {
  "null equals what is missing, in each document but not in arrays of scalars": [
    {
      filter: { a: null },
      yes: [{}, { a: null }, { a: [1, null] }, { a: [null, null] }],
      no: [{ a: {} }, { a: 4 }, { a: [] }, { a: [[]] }, { a: [{ b: null }] }, { a: [1, "x"] }, { a: undefined }],
    },
    {
      filter: { "a.b": null },
      yes: [
        ...[{}, { a: {} }, { a: null }, { a: 4 }, { a: { b: null } }],
        ...[{ a: [{ b: null }, {}] }, { a: [{ b: 3 }, {}] }, { a: [{ b: 3 }, { b: null }] }],
      ],
      no: [
        ...[{ a: { b: "x" } }, { a: [] }, { a: [[]] }, { a: [1, null] }],
        ...[{ a: [{ b: 1 }, { b: 3 }] }, { a: [1, "x"] }, { a: [null, null] }],
      ],
    },
    { filter: { a: { $ne: null } }, yes: [{ a: [] }, { a: [[]] }, { a: 0 }], no: [{}, { a: [null] }] },
    { filter: { "a.b": { $ne: null } }, yes: [{ a: [] }, { a: [[]] }, { a: [1] }], no: [{ a: 1 }, { a: [{}] }] },
    { filter: { a: { $gte: null } }, yes: [{}, { a: null }], no: [{ a: 0 }, { a: "" }] },
    { filter: { a: { $gt: null } }, no: [{}, { a: null }, { a: 1 }] },
    { filter: { a: { $in: [null, 4] } }, yes: [{}, { a: 4 }, { a: [null] }], no: [{ a: 5 }, { a: [] }] },
    { filter: { a: { $nin: [null, 4] } }, yes: [{ a: [] }], no: [{}, { a: [4] }] },
    { filter: { a: { $elemMatch: { $eq: null } } }, yes: [{ a: [null] }], no: [{}, { a: null }, { a: [[]] }] },
    { filter: { a: { $elemMatch: { b: null } } }, yes: [{ a: [{}] }, { a: [[]] }], no: [{ a: [1] }, { a: {} }] },
  ],
  "a path goes through arrays, and a number in it is a place or a name": [
    { filter: { a: 1 }, yes: [{ a: [1, 2] }], no: [{ a: [[1]] }] },
    { filter: { a: [1, 2] }, yes: [{ a: [1, 2] }, { a: [[1, 2], 3] }], no: [{ a: [2, 1] }, { a: [1, 2, 3] }] },
    { filter: { "a.0": 5 }, yes: [{ a: [5] }, { a: { 0: 5 } }, { a: [{ 0: 5 }] }], no: [{ a: [[5]] }, { a: [6, 5] }] },
    { filter: { "a.0": [5] }, yes: [{ a: [[5]] }], no: [{ a: [5] }, { a: [[[5]]] }] },
    { filter: { "a.0.0": 5 }, yes: [{ a: [[5]] }], no: [{ a: [5] }] },
    { filter: { "a.0.b": 5 }, yes: [{ a: [{ b: 5 }] }, { a: [{ b: [5] }] }], no: [{ a: [1, { b: 5 }] }] },
    { filter: { "a.0.b": null }, yes: [{ a: [{ b: 5 }] }], no: [{ a: [5] }] },
    { filter: { "a.00": 5 }, no: [{ a: [5] }] },
    { filter: { "a.b": 5 }, yes: [{ a: [{ b: 5 }] }], no: [{ a: [[{ b: 5 }]] }] },
    { filter: { "a.1.b": 5 }, yes: [{ a: [0, [{ b: 5 }]] }] },
    { filter: { "a.length": 1 }, no: [{ a: [1] }, { a: "x" }] },
  ],
  "$exists, $size, $type and $all": [
    { filter: { a: { $exists: true } }, yes: [{ a: null }, { a: [] }, { a: undefined }], no: [{}] },
    { filter: { "a.b": { $exists: false } }, yes: [{ a: [] }, { a: [1] }, { a: 1 }], no: [{ a: [{ b: 1 }, {}] }] },
    { filter: { a: { $size: 1 } }, yes: [{ a: [[]] }, { a: [1] }], no: [{ a: [[1], 2] }, { a: {} }, {}] },
    { filter: { a: { $type: "array" } }, yes: [{ a: [] }, { a: [[]] }], no: [{ a: {} }] },
    { filter: { a: { $type: "string" } }, yes: [{ a: "" }, { a: [1, ""] }], no: [{ a: [[""]] }, {}] },
    {
      filter: { a: { $type: ["null", 1, 16, 18] } },
      yes: [{ a: null }, { a: 1 }, { a: long("1") }],
      no: [{ a: true }],
    },
    { filter: { a: { $type: 6 } }, yes: [{ a: undefined }], no: [{}, { a: null }] },
    { filter: { a: { $type: "javascript" } }, yes: [{ a: new Code("x") }], no: [{ a: new Code("x", {}) }] },
    { filter: { a: { $all: ["x", "y"] } }, yes: [{ a: ["y", "x"] }], no: [{ a: ["x"] }, {}] },
    { filter: { a: { $all: ["x"] } }, yes: [{ a: "x" }] },
    { filter: { a: { $all: [["x"]] } }, yes: [{ a: ["x"] }, { a: [["x"], 1] }] },
    { filter: { a: { $all: [] } }, no: [{ a: [] }, { a: 1 }, {}] },
    {
      filter: { a: { $all: [{ $elemMatch: { b: 1 } }, { $elemMatch: { b: 2 } }] } },
      yes: [{ a: [{ b: 1 }, { b: 2 }] }],
      no: [{ a: [{ b: 1 }] }],
    },
  ],
  "$elemMatch asks everything of one element": [
    { filter: { a: { $gt: 1, $lt: 3 } }, yes: [{ a: [0, 5] }, { a: 2 }] },
    {
      filter: { a: { $elemMatch: { $gt: 1, $lt: 3 } } },
      yes: [{ a: [0, 2] }],
      no: [{ a: [0, 5] }, { a: 2 }, { a: [[2]] }],
    },
    {
      filter: { a: { $elemMatch: { b: 1, c: 2 } } },
      yes: [{ a: [{ b: 1, c: 2 }] }],
      no: [{ a: [{ b: 1 }, { c: 2 }] }],
    },
    { filter: { a: { $elemMatch: { $elemMatch: { $eq: 2 } } } }, yes: [{ a: [[2]] }], no: [{ a: [2] }] },
    {
      filter: { a: { $elemMatch: { $not: { $gt: 1 } } } },
      yes: [{ a: [5, 1] }, { a: ["x"] }],
      no: [{ a: [5] }, { a: [] }],
    },
    { filter: { a: { $elemMatch: { $nin: [1] } } }, yes: [{ a: [1, 2] }], no: [{ a: [1] }] },
    { filter: { a: { $elemMatch: {} } }, yes: [{ a: [{}] }, { a: [[]] }], no: [{ a: [1] }, { a: {} }] },
  ],
  "comparisons stay within one type": [
    { filter: { a: { $gt: 5 } }, yes: [{ a: 6 }, { a: long("6") }], no: [{ a: "6" }, { a: new Date(9) }, {}] },
    { filter: { a: { $lt: "b" } }, yes: [{ a: "a" }, { a: "" }], no: [{ a: 1 }, { a: null }] },
    { filter: { a: { $gte: "é" } }, yes: [{ a: "é" }, { a: "\uffee" }], no: [{ a: "e" }] },
    { filter: { a: { $gt: "\uffee" } }, yes: [{ a: "😀" }], no: [{ a: "\uffed" }] },
    { filter: { a: { $lt: new Date(5) } }, yes: [{ a: new Date(-1) }], no: [{ a: 1 }, { a: new Date(5) }] },
    { filter: { a: { $gt: false } }, yes: [{ a: true }], no: [{ a: 1 }] },
    { filter: { a: { $gt: [1, 2] } }, yes: [{ a: [1, 3] }, { a: [[2]] }], no: [{ a: 3 }, { a: [1] }] },
    { filter: { a: { $gt: new MinKey() } }, yes: [{}, { a: 1 }, { a: new MaxKey() }], no: [{ a: new MinKey() }] },
    { filter: { a: { $lte: new MaxKey() } }, yes: [{}, { a: new MaxKey() }] },
    { filter: { a: { $gt: new MaxKey() } }, no: [{}, { a: 1 }] },
  ],
  "numbers of all types compare by value": [
    {
      filter: { a: 1 },
      yes: [{ a: 1 }, { a: new Int32(1) }, { a: new Double(1) }, { a: long("1") }, { a: 1n }, { a: decimal("1.00") }],
      no: [{ a: true }, { a: "1" }, { a: 1.5 }],
    },
    { filter: { a: 0 }, yes: [{ a: -0 }, { a: decimal("-0E+3") }] },
    { filter: { a: long("9007199254740993") }, yes: [{ a: decimal("9007199254740993") }], no: [{ a: 2 ** 53 }] },
    { filter: { a: { $gt: 2 ** 53 - 1 } }, yes: [{ a: long("9007199254740993") }, { a: decimal("1E+6000") }] },
    { filter: { a: { $in: [0.1, 5] } }, yes: [{ a: 0.1 }, { a: decimal("5") }], no: [{ a: decimal("0.1") }] },
    { filter: { a: new Double(Number.NaN) }, yes: [{ a: Number.NaN }, { a: decimal("NaN") }], no: [{ a: 1 }, {}] },
    { filter: { a: { $gte: new Double(Number.NaN) } }, yes: [{ a: Number.NaN }], no: [{ a: 1 }] },
    { filter: { a: { $lt: 5 } }, yes: [{ a: -Infinity }], no: [{ a: Number.NaN }, { a: decimal("NaN") }] },
    {
      filter: { a: { $mod: [4, -1] } },
      yes: [{ a: -5 }, { a: -5.9 }, { a: long("-5") }, { a: decimal("-5.5") }],
      no: [{ a: 3 }],
    },
    { filter: { a: { $mod: [2, 0] } }, no: [{ a: Infinity }, { a: Number.NaN }, { a: 2 ** 63 }, { a: "2" }] },
  ],
  "sub-documents are equal with the same keys in the same order": [
    { filter: { a: { b: 1, c: 2 } }, yes: [{ a: { b: 1, c: 2 } }], no: [{ a: { c: 2, b: 1 } }, { a: { b: 1 } }] },
    { filter: { a: { b: 1 } }, yes: [{ a: { b: long("1") } }, { a: [{ b: decimal("1") }] }], no: [{ a: { b: [1] } }] },
    { filter: { a: {} }, yes: [{ a: {} }], no: [{}, { a: [] }] },
  ],
  "regular expressions match strings, and the same expression": [
    {
      filter: { a: { $regex: "^x" } },
      yes: [{ a: "xy" }, { a: ["y", "x"] }, { a: new BSONSymbol("x") }],
      no: [{ a: "yx" }],
    },
    { filter: { a: /x/i }, yes: [{ a: "X" }, { a: new BSONRegExp("x", "i") }, { a: /x/i }], no: [{ a: /x/ }] },
    { filter: { a: { $in: [/^x/, 1] } }, yes: [{ a: "xy" }, { a: 1 }], no: [{ a: "y" }] },
    { filter: { a: { $not: /^x/ } }, yes: [{}, { a: 1 }], no: [{ a: ["y", "x"] }] },
    { filter: { a: { $all: [/x/, "y"] } }, yes: [{ a: ["x", "y"] }], no: [{ a: ["x"] }] },
  ],
  logic: [
    { filter: {}, yes: [{}, { a: 1 }] },
    { filter: { $or: [{ a: 1 }, { b: 1 }] }, yes: [{ b: 1 }], no: [{}] },
    { filter: { $nor: [{ a: 1 }, { b: 1 }] }, yes: [{}], no: [{ a: 1, b: 2 }] },
    { filter: { $and: [{ a: { $gt: 1 } }, { a: { $gt: 2 } }] }, yes: [{ a: 3 }], no: [{ a: 2 }] },
    { filter: { a: { $not: { $gt: 1, $lt: 5 } } }, yes: [{ a: 7 }, {}, { a: "x" }], no: [{ a: [0, 7] }, { a: 3 }] },
    { filter: { a: { $ne: 1 } }, yes: [{}, { a: [2] }], no: [{ a: [1, 2] }] },
    { filter: { a: { $in: [] } }, no: [{}, { a: [] }] },
  ],
  "the classes of the driver are values, and what looks like one is a document": [
    {
      filter: { a: new ObjectId("00".repeat(12)) },
      yes: [{ a: new ObjectId("00".repeat(12)) }],
      no: [{ a: "00".repeat(12) }],
    },
    { filter: { "a.id": 1 }, yes: [{ a: { _bsontype: "ObjectId", id: 1 } }], no: [{ a: new ObjectId() }] },
    {
      filter: { a: new Binary(Buffer.from("x")) },
      yes: [{ a: Buffer.from("x") }],
      no: [{ a: new Binary(Buffer.from("x"), 5) }],
    },
    {
      filter: { "a.toString": null, "a.valueOf": { $exists: false } },
      yes: [{}, { a: {} }],
      no: [{ a: { toString: 1 } }],
    },
    { filter: { "a.x": 1 }, yes: [{ a: new DBRef("c", new ObjectId(), "d", { x: 1 }) }] },
    { filter: { a: { $gte: new Date(0) } }, no: [{ a: new Date(Number.NaN) }] },
  ],
};

describe("the matcher's semantics", () => {
  for (const [title, rows] of Object.entries(tables)) {
    describe(title, () => {
      for (const { filter, yes = [], no = [] } of rows) {
        const matches = compileFilter(parseFilter(filter));
        for (const [document, answer] of [
          ...yes.map((each) => [each, true] as const),
          ...no.map((each) => [each, false] as const),
        ]) {
          it(`${text(filter)} ${answer ? "matches" : "does not match"} ${text(document)}`, () => {
            expect(matches(document)).to.equal(answer);
          });
        }
      }
    });
  }

  it("lets null equal undefined where the server is older than MongoDB 8", () => {
    for (const filter of [{ a: null }, { a: { $in: [null, 1] } }, { a: { $lte: null } }]) {
      expect(compileFilter(parseFilter(filter))({ a: undefined })).to.equal(false);
      expect(compileFilter(parseFilter(filter), { undefinedEqualsNull: true })({ a: undefined })).to.equal(true);
    }
  });

  it("tells int, long and double apart where numbers are not promoted", () => {
    const matches = (type: string, value: unknown) =>
      compileFilter(parseFilter({ a: { $type: type } }, { exactNumberTypes: true }))({ a: value });
    expect([new Int32(1), new Double(1), long("1"), decimal("1")].map((value) => matches("int", value))).to.eql([
      true,
      false,
      false,
      false,
    ]);
    expect([new Int32(1), new Double(1), long("1"), decimal("1")].map((value) => matches("long", value))).to.eql([
      false,
      false,
      true,
      false,
    ]);
    expect([new Int32(1), new Double(1), long("1"), decimal("1")].map((value) => matches("double", value))).to.eql([
      false,
      true,
      false,
      false,
    ]);
  });
});

function text(value: Document): string {
  const shown = (each: unknown): unknown => {
    if (each === undefined) return "undefined";
    if (typeof each === "bigint") return `${each}n`;
    if (each instanceof RegExp) return String(each);
    if (each instanceof Date) return `Date ${each.getTime()}`;
    if (Array.isArray(each)) return each.map(shown);
    if (typeof each !== "object" || each === null || Object.getPrototypeOf(each) !== Object.prototype) return each;
    return Object.fromEntries(Object.entries(each).map(([key, inner]) => [key.replace("_bson", "bson"), shown(inner)]));
  };
  return BSON.EJSON.stringify(shown(value), { relaxed: true });
}
