import fc from "fast-check";
import { BSON, type Document } from "mongodb";

const { Binary, BSONRegExp, BSONSymbol, Code, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } =
  BSON;

/**
 * What the server in use is known to answer differently from MongoDB: the generators leave exactly this out, and
 * semantics.spec.ts holds MongoDB's answer for each.
 */
export interface Deviation {
  readonly what: string;
  readonly mongodb: string;
  readonly here: string;
}

/** Few values of each type, so that many are equal and many are neighbours. */
const tameNumbers = fc.constantFrom<unknown>(
  new Int32(0),
  new Int32(1),
  new Int32(2),
  new Int32(-3),
  new Double(1),
  new Double(2.5),
  new Double(-0.0),
  new Double(Number.NaN),
  new Double(Number.POSITIVE_INFINITY),
  Long.fromNumber(2),
  Long.fromString("4294967297"),
  Decimal128.fromString("1"),
  Decimal128.fromString("3.5"),
  Decimal128.fromString("NaN"),
  Decimal128.fromString("Infinity"),
);

const wildNumbers = fc.constantFrom<unknown>(
  new Int32(0),
  new Int32(1),
  new Int32(2),
  new Int32(-3),
  new Double(1),
  new Double(1.5),
  new Double(0.1),
  new Double(-0.0),
  new Double(Number.NaN),
  new Double(Number.POSITIVE_INFINITY),
  new Double(Number.NEGATIVE_INFINITY),
  new Double(2 ** 53),
  new Double(2 ** 63),
  new Double(1e300),
  Long.fromNumber(1),
  Long.fromNumber(2),
  Long.fromString("9007199254740993"),
  Long.fromString("9223372036854775807"),
  Long.fromString("-9223372036854775808"),
  Decimal128.fromString("1"),
  Decimal128.fromString("1.00"),
  Decimal128.fromString("1.5"),
  Decimal128.fromString("-0"),
  Decimal128.fromString("NaN"),
  Decimal128.fromString("Infinity"),
  Decimal128.fromString("-Infinity"),
  Decimal128.fromString("9007199254740993"),
  Decimal128.fromString("1E+6000"),
  Decimal128.fromString("1E-6000"),
);

const strings = fc.constantFrom(
  "",
  "a",
  "b",
  "ab",
  "A",
  "aB\n",
  "b\n",
  "\n",
  "1",
  "é",
  "K",
  "\uffee",
  "😀",
  "a b",
  "a\0",
);

const rareScalars = fc.constantFrom<unknown>(
  null,
  true,
  false,
  new Date(0),
  new Date(-1),
  new Date(1_700_000_000_000),
  new ObjectId("000000000000000000000001"),
  new ObjectId("ff0000000000000000000001"),
  new Binary(Buffer.from("a")),
  new Binary(Buffer.from("b")),
  new Binary(Buffer.from("c")),
  new Timestamp({ t: 1, i: 2 }),
  new Timestamp({ t: 0xffffffff, i: 0 }),
  new MinKey(),
  new MaxKey(),
);

const documentOnly = fc.constantFrom<unknown>(
  new BSONRegExp("a", ""),
  new BSONRegExp("a", "i"),
  new Code("a"),
  new Code("a", { a: 1 }),
  new BSONSymbol("a"),
);

const names = ["a", "b", "c"] as const;
/** Documents also have numbers as names, for the paths that could be places in arrays. */
const storedNames = fc.constantFrom("a", "b", "c", "0", "1");

function scalarsWith(numbers: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 4, arbitrary: numbers },
    { weight: 3, arbitrary: strings },
    { weight: 4, arbitrary: rareScalars },
  );
}

const scalars = scalarsWith(wildNumbers);

function documentsWith(numbers: fc.Arbitrary<unknown>, arraysInArrays: boolean): fc.Arbitrary<Document> {
  const stored = fc.letrec<{ value: unknown; element: unknown; document: Document; array: unknown[] }>((tie) => ({
    element: arraysInArrays ? tie("value") : fc.oneof(scalarsWith(numbers), documentOnly, tie("document")),
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      { weight: 8, arbitrary: scalarsWith(numbers) },
      { weight: 1, arbitrary: documentOnly },
      { weight: 4, arbitrary: tie("document") },
      { weight: 4, arbitrary: tie("array") },
    ),
    document: fc.dictionary(storedNames, tie("value"), { maxKeys: 3, noNullPrototype: true }),
    array: fc.array(tie("element"), { maxLength: 3 }),
  }));
  return fc.dictionary(fc.constantFrom(...names), stored.value, { maxKeys: 3, noNullPrototype: true });
}

/** Values that filters compare with; `documents` where sub-documents may be among them. */
function compared(documents: boolean): fc.Arbitrary<unknown> {
  return fc.letrec<{ value: unknown; document: unknown; array: unknown[] }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 2, depthSize: "small" },
      { weight: 10, arbitrary: scalars },
      { weight: 2, arbitrary: documents ? tie("document") : scalars },
      { weight: 2, arbitrary: tie("array") },
    ),
    document: fc.dictionary(fc.constantFrom(...names), tie("value"), { maxKeys: 2, noNullPrototype: true }),
    array: fc.array(tie("value"), { maxLength: 2 }),
  })).value;
}

const path = fc
  .tuple(fc.constantFrom(...names), fc.array(fc.constantFrom("a", "b", "c", "0", "1"), { maxLength: 2 }))
  .map(([first, rest]) => [first, ...rest].join("."));

const regexPiece = fc.constantFrom(
  ...["a", "b", "A", "é", "\\n", ".", "\\d", "\\w", "\\S", "\\s", "[a-b]", "[^a]", "[ab\\d]", "k", "\\x41"],
  ...["a*", "b+", "a?", "b{2}", "a{0,1}", "(?:a|b)", "(a|B)*", ".*", "\\b", "", "|"],
);
const regexPattern = fc
  .tuple(fc.boolean(), fc.array(regexPiece, { maxLength: 4 }), fc.boolean())
  .map(([start, pieces, end]) => `${start ? "^" : ""}${pieces.join("")}${end ? "$" : ""}`);
const regexOptions = fc.constantFrom("", "", "i", "s", "is");
const regExp = fc.tuple(regexPattern, regexOptions).map(([pattern, options]) => new BSONRegExp(pattern, options));

const typeName = fc.constantFrom<unknown>(
  ...[
    "double",
    "string",
    "object",
    "array",
    "binData",
    "objectId",
    "bool",
    "date",
    "null",
    "regex",
    "int",
    "timestamp",
  ],
  ...["long", "decimal", "minKey", "maxKey", "number", "javascript", 1, 2, 3, 4, 8, 9, 10, 16, 18, 19, -1, 127],
);

type Operators = Record<string, unknown>;

function only(op: string, operand: fc.Arbitrary<unknown>): fc.Arbitrary<Operators> {
  return operand.map((value) => ({ [op]: value }));
}

const list = fc.array(compared(true), { maxLength: 3 });
const listWithRegexes = fc.array(fc.oneof({ weight: 5, arbitrary: compared(true) }, { weight: 1, arbitrary: regExp }), {
  maxLength: 3,
});

const remainder = only("$mod", fc.tuple(fc.constantFrom(1, 2, 3), fc.constantFrom(0, 1, -1)));

const comparisons: fc.Arbitrary<Operators> = fc.oneof(
  { weight: 3, arbitrary: only("$eq", compared(true)) },
  { weight: 2, arbitrary: only("$ne", compared(true)) },
  ...["$gt", "$gte", "$lt", "$lte"].map((op) => ({ weight: 2, arbitrary: only(op, compared(false)) })),
  { weight: 3, arbitrary: only("$in", listWithRegexes) },
  { weight: 2, arbitrary: only("$nin", listWithRegexes) },
  {
    weight: 2,
    arbitrary: only(
      "$all",
      list.filter((values) => !values.some((value) => Array.isArray(value) && value.length === 0)),
    ),
  },
  { weight: 2, arbitrary: only("$exists", fc.boolean()) },
  { weight: 2, arbitrary: only("$size", fc.nat({ max: 3 })) },
  { weight: 2, arbitrary: only("$type", fc.oneof(typeName, fc.array(typeName, { minLength: 1, maxLength: 3 }))) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(regexPattern, regexOptions)
      .map(([$regex, $options]): Operators => ($options === "" ? { $regex } : { $regex, $options })),
  },
);

/** Filters as clients send them, before they are checked. */
function filtersWith(plainOperators: fc.Arbitrary<Operators>, elementsAsDocuments: boolean): fc.Arbitrary<Document> {
  return fc.letrec<{ filter: Operators; operators: Operators; field: Operators; elements: Operators }>((tie) => ({
    elements: fc
      .oneof(elementsAsDocuments ? tie("filter") : tie("operators"), tie("operators"))
      .filter((inner) => !/^\$(?:and|or|nor)$/.test(Object.keys(inner)[0] ?? ""))
      .map((inner) => ({ $elemMatch: inner })),
    operators: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      { weight: 10, arbitrary: plainOperators },
      { weight: 2, arbitrary: fc.tuple(plainOperators, plainOperators).map(([a, b]) => ({ ...a, ...b })) },
      { weight: 2, arbitrary: tie("operators").map((inner) => ({ $not: inner })) },
      { weight: 3, arbitrary: tie("elements") },
      { weight: 1, arbitrary: fc.array(tie("elements"), { minLength: 1, maxLength: 2 }).map(($all) => ({ $all })) },
    ),
    field: fc
      .tuple(
        path,
        fc.oneof(
          { weight: 1, arbitrary: fc.oneof(compared(true), regExp) },
          { weight: 5, arbitrary: tie("operators") },
        ),
      )
      .filter(([name, value]) => !/\d/.test(name) || isAnsweredAtPlaces(value))
      .map(([name, value]) => ({ [name]: value })),
    filter: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      { weight: 8, arbitrary: tie("field") },
      { weight: 2, arbitrary: fc.tuple(tie("field"), tie("field")).map(([a, b]) => ({ ...a, ...b })) },
      {
        weight: 2,
        arbitrary: fc
          .tuple(fc.constantFrom("$and", "$or", "$nor"), fc.array(tie("filter"), { minLength: 1, maxLength: 3 }))
          .map(([op, of]) => ({ [op]: of })),
      },
    ),
  })).filter;
}

/** Whether the server in use answers a condition on a path with a number in it as MongoDB does. */
function isAnsweredAtPlaces(operand: unknown): boolean {
  return !/null|Key"|\$mod/.test(BSON.EJSON.stringify(operand, { relaxed: false }));
}

/** Documents, and filters to be asked about each of them. */
export function batches(documentCount: number, filterCount: number): fc.Arbitrary<readonly [Document[], Document[]]> {
  const batchOf = (documents: fc.Arbitrary<Document>, filters: fc.Arbitrary<Document>) =>
    fc.tuple(
      fc.array(documents, { minLength: documentCount, maxLength: documentCount }),
      fc.array(filters, { minLength: filterCount, maxLength: filterCount }),
    );
  return fc.oneof(
    { weight: 2, arbitrary: batchOf(documentsWith(wildNumbers, true), filtersWith(comparisons, false)) },
    { weight: 2, arbitrary: batchOf(documentsWith(wildNumbers, false), filtersWith(comparisons, true)) },
    {
      weight: 1,
      arbitrary: batchOf(documentsWith(tameNumbers, false), filtersWith(fc.oneof(comparisons, remainder), true)),
    },
  );
}
