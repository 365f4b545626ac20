import { expect } from "chai";
import fc from "fast-check";
import { BSON } from "mongodb";
import { compareStrings, compareValues } from "../../src/filter/compare.js";
import { indexKey } from "../../src/filter/equality.js";

const {
  Binary,
  BSONRegExp,
  BSONSymbol,
  Code,
  DBRef,
  Decimal128,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} = BSON;

/** MongoDB's order: values in one row are equal, rows ascend. */
const ascending: readonly (readonly unknown[])[] = [
  [new MinKey()],
  [undefined],
  [null],
  [Number.NaN, new Double(Number.NaN), Decimal128.fromString("NaN")],
  [-Infinity, Decimal128.fromString("-Infinity")],
  [Decimal128.fromString("-9.99E+6144")],
  [-1e300],
  [Long.fromString("-9223372036854775808"), -(2 ** 63), Decimal128.fromString("-9223372036854775808")],
  [-1, new Int32(-1), -1n],
  [-1e-320],
  [Decimal128.fromString("-1E-6176")],
  [0, -0, new Int32(0), Long.ZERO, Decimal128.fromString("-0E-50")],
  [Decimal128.fromString("1E-6176")],
  [5e-324],
  [Decimal128.fromString("0.1")],
  [0.1],
  [Decimal128.fromString("0.1000000000000000055511151231257828")],
  [0.5, Decimal128.fromString("0.50")],
  [1, new Int32(1), new Double(1), Long.ONE, 1n, Decimal128.fromString("1.000")],
  [2 ** 53, Long.fromString("9007199254740992"), Decimal128.fromString("9007199254740992")],
  [Long.fromString("9007199254740993"), 9007199254740993n, Decimal128.fromString("9007199254740993")],
  [Long.fromString("9223372036854775807")],
  [2 ** 63, Decimal128.fromString("9223372036854775808")],
  [Number.MAX_VALUE],
  [Decimal128.fromString("1E+400")],
  [Infinity, Decimal128.fromString("Infinity")],
  ["", new BSONSymbol("")],
  ["A"],
  ["a", new BSONSymbol("a")],
  ["a\0"],
  ["aa"],
  ["é"],
  ["\ud7ff"],
  ["\ue000"],
  ["\uffff"],
  ["😀"],
  [{}],
  [{ a: 1 }, { a: 1n }],
  [{ a: 1, b: 1 }],
  [{ b: 0 }],
  [new DBRef("c", new ObjectId("00".repeat(12)))],
  [{ a: "x" }],
  [[]],
  [[1]],
  [[1, 2]],
  [[2]],
  [["a"]],
  [new Binary(Buffer.from("z")), Buffer.from("z")],
  [new Binary(Buffer.from("a"), 128)],
  [new Binary(Buffer.from("aa"))],
  [new Binary(Buffer.from("aaa"), 5)],
  [new Binary(Buffer.from("aaaaa"))],
  [new Binary(Buffer.from("a"), 2)],
  [new UUID("00000000-0000-4000-8000-000000000001")],
  [new UUID("00000000-0000-4000-8000-000000000002")],
  [new ObjectId("000000000000000000000001")],
  [new ObjectId("ff0000000000000000000000")],
  [false],
  [true],
  [new Date(-1)],
  [new Date(0)],
  [new Timestamp({ t: 1, i: 5 })],
  [new Timestamp({ t: 0xffffffff, i: 0 })],
  [new BSONRegExp("a", ""), /a/],
  [new BSONRegExp("a", "i"), /a/i],
  [new BSONRegExp("b", "")],
  [new Code("a")],
  [new Code("b")],
  [new Code("a", {})],
  [new Code("a", { x: 1 })],
  [new MaxKey()],
];

describe("the order of BSON values", () => {
  it("is MongoDB's, for every pair of types and values", () => {
    for (const [left, rowOfLeft] of ascending.flatMap((row, index) => row.map((value) => [value, index] as const))) {
      for (const [right, rowOfRight] of ascending.flatMap((row, index) =>
        row.map((value) => [value, index] as const),
      )) {
        const message = `row ${rowOfLeft} with row ${rowOfRight}`;
        expect(Math.sign(compareValues(left, right)), message).to.equal(Math.sign(rowOfLeft - rowOfRight));
      }
    }
  });

  it("is that of UTF-8 for strings", () => {
    const text = fc.string({
      unit: fc.constantFrom(
        "a",
        "\u007f",
        "\u0080",
        "\u07ff",
        "\u0800",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "😀",
        "\u{10ffff}",
      ),
    });
    fc.assert(
      fc.property(text, text, (left, right) => {
        expect(Math.sign(compareStrings(left, right))).to.equal(Buffer.compare(Buffer.from(left), Buffer.from(right)));
      }),
    );
  });

  it("is that of the exact values for numbers of any two types", () => {
    fc.assert(
      fc.property(exactNumber, exactNumber, (left, right) => {
        const exact = left.numerator * right.denominator - right.numerator * left.denominator;
        const sign = exact > 0n ? 1 : exact < 0n ? -1 : 0;
        expect(Math.sign(compareValues(left.value, right.value))).to.equal(sign);
        expect(indexKey(left.value) === indexKey(right.value), "the keys are equal").to.equal(sign === 0);
      }),
      { numRuns: 2_000 },
    );
  });

  it("gives equal scalars equal keys, and others different ones", () => {
    const scalars = ascending.flatMap((row, index) => row.map((value) => ({ key: indexKey(value), index })));
    for (const left of scalars) {
      for (const right of scalars) {
        if (left.key === undefined || right.key === undefined) continue;
        expect(left.key === right.key, `${left.key} and ${right.key}`).to.equal(left.index === right.index);
      }
    }
    expect(scalars.filter((each) => each.key !== undefined).length).to.be.above(60);
    expect([null, undefined, {}, [], /a/, new MinKey(), new Code("a"), new Date(Number.NaN)].map(indexKey)).to.eql(
      Array(8).fill(undefined),
    );
  });
});

interface Exact {
  readonly value: unknown;
  readonly numerator: bigint;
  readonly denominator: bigint;
}

const small = fc.bigInt({ min: -20n, max: 20n });
const near = fc
  .tuple(fc.constantFrom(0n, 2n ** 31n, 2n ** 53n, -(2n ** 53n), 2n ** 62n), small)
  .map(([base, offset]) => base + offset);

const exactNumber: fc.Arbitrary<Exact> = fc.oneof(
  near.map((integer) => ({ value: Long.fromBigInt(integer), numerator: integer, denominator: 1n })),
  near.map((integer) => ({ value: integer, numerator: integer, denominator: 1n })),
  fc.tuple(near, fc.nat({ max: 60 })).map(([mantissa, halvings]) => {
    // Rounded to a double first, so that the fraction below is the double's own value.
    const value = Number(mantissa) / 2 ** halvings;
    return {
      value: halvings % 2 === 0 ? value : new Double(value),
      numerator: BigInt(Number(mantissa)),
      denominator: 2n ** BigInt(halvings),
    };
  }),
  fc.tuple(near, fc.integer({ min: -30, max: 5 })).map(([coefficient, exponent]) => ({
    value: Decimal128.fromString(`${coefficient}E${exponent}`),
    numerator: coefficient * 10n ** BigInt(Math.max(exponent, 0)),
    denominator: 10n ** BigInt(Math.max(-exponent, 0)),
  })),
);
