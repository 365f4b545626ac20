import fc from "fast-check";
import { BSON, type Document } from "mongodb";

const { Binary, BSONRegExp, Code, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } = BSON;

/*
 * The generators leave out what deviations.ts lists, and nothing else. Values are few of each type, so that many are
 * equal and many are neighbours.
 */

const tameNumbers = fc.constantFrom<unknown>(
  ...[new Int32(0), new Int32(1), new Int32(2), new Int32(-3)],
  ...[1, 2.5, -0.0, Number.NaN, Number.POSITIVE_INFINITY].map((value) => new Double(value)),
  ...["2", "4294967297"].map((text) => Long.fromString(text)),
  ...["1", "3.5", "NaN", "Infinity"].map((text) => Decimal128.fromString(text)),
);

const wildNumbers = fc.constantFrom<unknown>(
  ...[new Int32(0), new Int32(1), new Int32(2), new Int32(-3)],
  ...[1, 1.5, 0.1, -0.0, 2 ** 53, 2 ** 63, 1e300].map((value) => new Double(value)),
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map((value) => new Double(value)),
  ...["1", "2", "9007199254740993", "9223372036854775807", "-9223372036854775808"].map((text) => Long.fromString(text)),
  ...["1", "1.00", "1.5", "-0", "9007199254740993", "1E+6000", "1E-6000"].map((text) => Decimal128.fromString(text)),
  ...["NaN", "Infinity", "-Infinity"].map((text) => Decimal128.fromString(text)),
);

const asciiTexts = fc.constantFrom("", "a", "b", "ab", "A", "aB\n", "b\n", "\n", "1", "a b", "_", "a\0");
const texts = fc.oneof(
  { weight: 3, arbitrary: asciiTexts },
  { weight: 1, arbitrary: fc.constantFrom("é", "K", "\uffee", "😀") },
);

const rareScalars = fc.constantFrom<unknown>(
  ...[null, true, false],
  ...[new Date(0), new Date(-1), new Date(1_700_000_000_000)],
  ...[new ObjectId("000000000000000000000001"), new ObjectId("ff0000000000000000000001")],
  ...["a", "b", "c"].map((text) => new Binary(Buffer.from(text))),
  ...[new Timestamp({ t: 1, i: 2 }), new Timestamp({ t: 0xffffffff, i: 0 })],
  ...[new MinKey(), new MaxKey()],
);

/** Values that no filter can compare with. */
const onlyStored = fc.constantFrom<unknown>(
  ...[new BSONRegExp("a", ""), new BSONRegExp("a", "i"), new Code("a"), new Code("a", { a: 1 })],
);

/** What the documents of a batch are made of. */
interface Pools {
  readonly numbers: fc.Arbitrary<unknown>;
  readonly texts: fc.Arbitrary<string>;
  readonly arraysInArrays: boolean;
}

const names = ["a", "b", "c"] as const;
/** Documents inside of documents also have numbers as names, for the paths that could be places in arrays. */
const innerNames = fc.constantFrom(...names, "0", "1");

function scalarsOf(pools: Pick<Pools, "numbers" | "texts">): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 4, arbitrary: pools.numbers },
    { weight: 3, arbitrary: pools.texts },
    { weight: 4, arbitrary: rareScalars },
  );
}

function documentsOf(pools: Pools): fc.Arbitrary<Document> {
  const scalars = scalarsOf(pools);
  const stored = fc.letrec<{ value: unknown; element: unknown; document: Document; array: unknown[] }>((tie) => ({
    element: pools.arraysInArrays ? tie("value") : fc.oneof(scalars, onlyStored, tie("document")),
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      { weight: 8, arbitrary: scalars },
      { weight: 1, arbitrary: onlyStored },
      { weight: 4, arbitrary: tie("document") },
      { weight: 4, arbitrary: tie("array") },
    ),
    document: fc.dictionary(innerNames, tie("value"), { maxKeys: 3, noNullPrototype: true }),
    array: fc.array(tie("element"), { maxLength: 3 }),
  }));
  return fc.dictionary(fc.constantFrom(...names), stored.value, { maxKeys: 3, noNullPrototype: true });
}

const constants = scalarsOf({ numbers: wildNumbers, texts });

/** Values that filters compare with; `documents` where sub-documents may be among them. */
function comparedWith(documents: boolean): fc.Arbitrary<unknown> {
  return fc.letrec<{ value: unknown; document: unknown; array: unknown[] }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 2, depthSize: "small" },
      { weight: 10, arbitrary: constants },
      { weight: 2, arbitrary: documents ? tie("document") : constants },
      { weight: 2, arbitrary: tie("array") },
    ),
    document: fc.dictionary(fc.constantFrom(...names), tie("value"), { maxKeys: 2, noNullPrototype: true }),
    array: fc.array(tie("value"), { maxLength: 2 }),
  })).value;
}

const path = fc
  .tuple(fc.constantFrom(...names), fc.array(innerNames, { maxLength: 2 }))
  .map(([first, rest]) => [first, ...rest].join("."));

const pieces = [
  ...["a", "b", "A", "é", "\\n", ".", "\\d", "\\S", "\\s", "[a-b]", "[^a]", "[ab\\d]", "k", "\\x41", "", "|"],
  ...["a*", "b+", "a?", "b{2}", "a{0,1}", "(?:a|b)", "(a|B)*", ".*"],
];
const wordPieces = ["\\w", "\\W", "\\b", "[\\w-]", "\\w+", "a", "b", " ", ".", "\\n"];

function regExpsOf(parts: readonly string[]): fc.Arbitrary<BSON.BSONRegExp> {
  const inner = fc.array(fc.constantFrom(...parts), { maxLength: 4 }).map((each) => each.join(""));
  return fc
    .tuple(fc.constantFrom("", "^"), inner, fc.constantFrom("", "$"), fc.constantFrom("", "", "i", "s", "is"))
    .map(([start, middle, end, options]) => new BSONRegExp(start + middle + end, options));
}

const regExps = regExpsOf(pieces);

const typeNames = fc.constantFrom<unknown>(
  ...["double", "string", "object", "array", "binData", "objectId", "bool", "date", "null", "regex", "int"],
  ...["timestamp", "long", "decimal", "minKey", "maxKey", "number", "javascript"],
  ...[1, 2, 3, 4, 8, 9, 10, 16, 18, 19, -1, 127],
);

function only(op: string, operand: fc.Arbitrary<unknown>): fc.Arbitrary<Document> {
  return operand.map((value) => ({ [op]: value }));
}

function regexOperator({ pattern, options }: BSON.BSONRegExp): Document {
  return options === "" ? { $regex: pattern } : { $regex: pattern, $options: options };
}

const values = comparedWith(true);
const list = fc.array(values, { maxLength: 3 });
const listWithRegExps = fc.array(fc.oneof({ weight: 5, arbitrary: values }, { weight: 1, arbitrary: regExps }), {
  maxLength: 3,
});

const operators: fc.Arbitrary<Document> = fc.oneof(
  { weight: 3, arbitrary: only("$eq", values) },
  { weight: 2, arbitrary: only("$ne", values) },
  ...["$gt", "$gte", "$lt", "$lte"].map((op) => ({ weight: 2, arbitrary: only(op, comparedWith(false)) })),
  { weight: 3, arbitrary: only("$in", listWithRegExps) },
  { weight: 2, arbitrary: only("$nin", listWithRegExps) },
  {
    weight: 2,
    arbitrary: only(
      "$all",
      list.filter((all) => all.every(isAnsweredInAll)),
    ),
  },
  { weight: 2, arbitrary: only("$exists", fc.boolean()) },
  { weight: 2, arbitrary: only("$size", fc.nat({ max: 3 })) },
  { weight: 2, arbitrary: only("$type", fc.oneof(typeNames, fc.array(typeNames, { minLength: 1, maxLength: 3 }))) },
  { weight: 2, arbitrary: regExps.map(regexOperator) },
);

const tameOperators: fc.Arbitrary<Document> = fc.oneof(
  { weight: 4, arbitrary: operators },
  { weight: 1, arbitrary: only("$mod", fc.tuple(fc.constantFrom(1, 2, 3, -2), fc.constantFrom(0, 1, -1))) },
  { weight: 1, arbitrary: regExpsOf(wordPieces).map(regexOperator) },
);

/** Filters as clients send them, before they are checked. */
function filtersOf(plain: fc.Arbitrary<Document>, elementsAsDocuments: boolean): fc.Arbitrary<Document> {
  return fc.letrec<{ filter: Document; operators: Document; field: Document; elements: Document }>((tie) => ({
    elements: fc
      .oneof(elementsAsDocuments ? tie("filter") : tie("operators"), tie("operators"))
      .filter((inner) => !/^\$(?:and|or|nor)$/.test(Object.keys(inner)[0] ?? ""))
      .map((inner) => ({ $elemMatch: inner })),
    operators: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      { weight: 10, arbitrary: plain },
      { weight: 2, arbitrary: fc.tuple(plain, plain).map(([a, b]) => ({ ...a, ...b })) },
      { weight: 2, arbitrary: tie("operators").map((inner) => ({ $not: inner })) },
      { weight: 3, arbitrary: tie("elements") },
      { weight: 1, arbitrary: fc.array(tie("elements"), { minLength: 1, maxLength: 2 }).map(($all) => ({ $all })) },
    ),
    field: fc
      .tuple(
        path,
        fc.oneof({ weight: 1, arbitrary: fc.oneof(values, regExps) }, { weight: 5, arbitrary: tie("operators") }),
      )
      .filter(([name, operand]) => !/\d/.test(name) || isAnsweredAtPlaces(operand))
      .map(([name, operand]) => ({ [name]: operand })),
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

function isAnsweredInAll(value: unknown): boolean {
  return value !== null && !(Array.isArray(value) && value.length === 0);
}

function isAnsweredAtPlaces(operand: unknown): boolean {
  return !/null|Key"|\$mod/.test(BSON.EJSON.stringify(operand, { relaxed: false }));
}

/** Documents, and filters to be asked about each of them. */
export function batches(documentCount: number, filterCount: number): fc.Arbitrary<readonly [Document[], Document[]]> {
  const batchOf = (pools: Pools, filters: fc.Arbitrary<Document>) =>
    fc.tuple(
      fc.array(documentsOf(pools), { minLength: documentCount, maxLength: documentCount }),
      fc.array(filters, { minLength: filterCount, maxLength: filterCount }),
    );
  const nested: Pools = { numbers: wildNumbers, texts, arraysInArrays: true };
  const flat: Pools = { ...nested, arraysInArrays: false };
  const tame: Pools = { numbers: tameNumbers, texts: asciiTexts, arraysInArrays: false };
  return fc.oneof(
    { weight: 2, arbitrary: batchOf(nested, filtersOf(operators, false)) },
    { weight: 2, arbitrary: batchOf(flat, filtersOf(operators, true)) },
    { weight: 1, arbitrary: batchOf(tame, filtersOf(tameOperators, true)) },
  );
}
