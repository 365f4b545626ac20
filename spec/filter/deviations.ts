import { BSON, type Document } from "mongodb";

const { Binary, BSONSymbol, Decimal128, Double, Long, MaxKey, MinKey, UUID } = BSON;

/** A case that SecantusDB, the server where no MongoDB can be had, answers differently from MongoDB. */
export interface Deviation {
  readonly what: string;
  /** Why MongoDB's answer is known. */
  readonly source: string;
  readonly document: Document;
  readonly filter: Document;
  /** MongoDB's answer, and the matcher's. */
  readonly answer: boolean;
  /** Whether the difference shows only where the driver does not promote values. */
  readonly unpromoted?: boolean;
}

/*
 * generators.ts leaves these out, and nothing else. On MongoDB itself the matcher is compared with the server's answer
 * to each of them too.
 */
const matcherSource = "src/mongo/db/matcher in MongoDB's source";
const orderManual = "manual: BSON comparison order";

export const deviations: readonly Deviation[] = [
  ...[
    { document: { a: [1] }, filter: { "a.1": null }, answer: false },
    { document: { a: [] }, filter: { "a.0.b": { $in: [null] } }, answer: false },
    { document: { a: [] }, filter: { "a.0": { $gt: new MinKey() } }, answer: false },
    { document: { a: [] }, filter: { "a.0": { $lt: new MaxKey() } }, answer: false },
  ].map((each) => ({
    ...each,
    what: "a place beyond the end of an array yields nothing, not even a missing value",
    source: `${matcherSource}: path.cpp`,
  })),
  ...[
    { document: { a: [[0]] }, filter: { "a.0": { $mod: [2, 0] } }, answer: false },
    { document: { a: [0, [4, 5]] }, filter: { "a.1": { $mod: [2, 1] } }, answer: false },
  ].map((each) => ({
    ...each,
    what: "$mod does not look into an array that a place in an array leads to",
    source: `${matcherSource}: path.cpp`,
  })),
  {
    what: "$mod computes with 64-bit integers",
    source: "manual: $mod",
    document: { a: Long.fromString("9223372036854775807") },
    filter: { a: { $mod: [2, 1] } },
    answer: true,
  },
  {
    what: "$mod matches no decimal beyond 64 bits",
    source: `${matcherSource}: expression_leaf.cpp`,
    document: { a: Decimal128.fromString("1E+6000") },
    filter: { a: { $mod: [2, 0] } },
    answer: false,
  },
  ...[
    { document: { a: [{ b: 1 }] }, filter: { a: { $elemMatch: { $or: [{ b: 1 }, { c: 1 }] } } }, answer: true },
    { document: { a: [{ b: 1 }] }, filter: { a: { $elemMatch: { $nor: [{ b: 1 }] } } }, answer: false },
  ].map((each) => ({
    ...each,
    what: "$elemMatch may begin with $and, $or or $nor",
    source: `${matcherSource}: expression_parser.cpp`,
  })),
  ...[
    { document: { a: [[]] }, filter: { a: { $elemMatch: { b: null } } }, answer: true },
    { document: { a: [[7]] }, filter: { a: { $elemMatch: { 0: 7 } } }, answer: true },
  ].map((each) => ({
    ...each,
    what: "$elemMatch takes an array in the array as a document with the names 0, 1 and so on",
    source: "jstests/core/null_query_semantics.js in MongoDB's source",
  })),
  {
    what: "$all with an empty array matches an empty array",
    source: "manual: $all is $and of equalities",
    document: { a: [] },
    filter: { a: { $all: [[]] } },
    answer: true,
  },
  {
    what: "$all with null matches what is missing",
    source: "manual: $all is $and of equalities",
    document: {},
    filter: { a: { $all: [null] } },
    answer: true,
  },
  ...[
    {
      document: { a: new UUID("00000000-0000-4000-8000-000000000001") },
      filter: { a: { $gt: new Binary(Buffer.from("z")) } },
      answer: true,
    },
    {
      document: { a: new Binary(Buffer.from("a"), 128) },
      filter: { a: { $lt: new Binary(Buffer.from("b"), 0) } },
      answer: false,
    },
  ].map((each) => ({
    ...each,
    what: "binary values compare by length, then subtype, then bytes",
    source: orderManual,
  })),
  ...[
    { document: { a: Decimal128.fromString("0.1") }, filter: { a: new Double(0.1) }, answer: false },
    { document: { a: Decimal128.fromString("0.1") }, filter: { a: { $lt: new Double(0.1) } }, answer: true },
  ].map((each) => ({
    ...each,
    what: "a decimal and a double compare by their exact values",
    source: "manual: numeric types, NumberDecimal equality",
  })),
  ...[
    { document: { a: "é" }, filter: { a: { $regex: "^\\w" } }, answer: false },
    { document: { a: "é" }, filter: { a: { $regex: "\\b" } }, answer: false },
    { document: { a: "\u00a0" }, filter: { a: { $regex: "\\s" } }, answer: false },
    { document: { a: "٣" }, filter: { a: { $regex: "\\d" } }, answer: false },
  ].map((each) => ({
    ...each,
    what: "\\w, \\d, \\s and \\b know ASCII only",
    source: "manual: $regex, options for characters outside of ASCII",
  })),
  {
    what: "\\B matches in the empty string",
    source: "manual of PCRE: \\B is the opposite of \\b",
    document: { a: "" },
    filter: { a: { $regex: "\\B" } },
    answer: true,
  },
  {
    what: "a symbol is not of type string",
    source: "manual: $type",
    document: { a: new BSONSymbol("a") },
    filter: { a: { $type: "string" } },
    answer: false,
    unpromoted: true,
  },
];
