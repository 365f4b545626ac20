import { expect } from "chai";
import fc from "fast-check";
import {
  Binary,
  BSON,
  BSONRegExp,
  BSONSymbol,
  Code,
  DBRef,
  Decimal128,
  type Document,
  Double,
  Int32,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from "mongodb";
import { decoding } from "../../src/database.js";
import { createExtendedRepresentation, encodeExtended } from "../../src/dispatcher/ejson.js";
import { createRepresentation } from "../../src/dispatcher/representation.js";
import { batches } from "../filter/generators.js";

const { EJSON } = BSON;
const decode = (bytes: Uint8Array): Document => BSON.deserialize(bytes, decoding);
const bytesOf = (value: unknown): Buffer => Buffer.from(BSON.serialize({ value }, { ignoreUndefined: false }));
/** What a client gets that parses the text with the driver, as it would store it. */
const stored = (text: string): Buffer =>
  Buffer.from(BSON.serialize(EJSON.parse(text, { relaxed: false }), { ignoreUndefined: false }));
/** A document with one element, given as its type, its name and its bytes. */
const raw = (type: number, name: string, value: Buffer): Buffer => {
  const element = Buffer.concat([Buffer.from([type]), Buffer.from(`${name}\0`), value, Buffer.from([0])]);
  const size = Buffer.alloc(4);
  size.writeInt32LE(4 + element.length);
  return Buffer.concat([size, element]);
};

describe("canonical Extended JSON (hazard 13)", () => {
  const rows: [name: string, value: unknown, text: string][] = [
    ["a double", new Double(1.5), '{"$numberDouble":"1.5"}'],
    ["a double without fraction", new Double(3), '{"$numberDouble":"3.0"}'],
    ["a large double", new Double(1e300), '{"$numberDouble":"1e+300"}'],
    ["a double beyond int64", new Double(123456789012345680000), '{"$numberDouble":"123456789012345683968.0"}'],
    ["the least double", new Double(5e-324), '{"$numberDouble":"5e-324"}'],
    ["minus zero", new Double(-0), '{"$numberDouble":"-0.0"}'],
    ["a double that is not a number", new Double(Number.NaN), '{"$numberDouble":"NaN"}'],
    ["an infinite double", new Double(Number.NEGATIVE_INFINITY), '{"$numberDouble":"-Infinity"}'],
    ["an int32", new Int32(-7), '{"$numberInt":"-7"}'],
    ["a small int64", Long.fromNumber(5), '{"$numberLong":"5"}'],
    ["the greatest int64", Long.MAX_VALUE, '{"$numberLong":"9223372036854775807"}'],
    ["the least int64", Long.MIN_VALUE, '{"$numberLong":"-9223372036854775808"}'],
    ["a Decimal128", Decimal128.fromString("0.10"), '{"$numberDecimal":"0.10"}'],
    ["an infinite Decimal128", Decimal128.fromString("-Infinity"), '{"$numberDecimal":"-Infinity"}'],
    ["a large Decimal128", Decimal128.fromString("1.5E+6000"), '{"$numberDecimal":"1.5E+6000"}'],
    ["a string", 'quote " and \u2028 and \u{1F600} and \0', JSON.stringify('quote " and \u2028 and \u{1F600} and \0')],
    ["an empty string", "", '""'],
    ["true", true, "true"],
    ["false", false, "false"],
    ["null", null, "null"],
    ["an ObjectId", new ObjectId("652f1b2c3d4e5f6071829304"), '{"$oid":"652f1b2c3d4e5f6071829304"}'],
    ["a date", new Date("2024-02-29T12:34:56.789Z"), '{"$date":{"$numberLong":"1709210096789"}}'],
    ["a date before 1970", new Date(-1), '{"$date":{"$numberLong":"-1"}}'],
    [
      "a UUID",
      new UUID("0191d7f0-1c3a-7abc-8def-0123456789ab"),
      '{"$binary":{"base64":"AZHX8Bw6eryN7wEjRWeJqw==","subType":"04"}}',
    ],
    ["binary", new Binary(Buffer.from("hello")), '{"$binary":{"base64":"aGVsbG8=","subType":"00"}}'],
    ["no bytes", new Binary(Buffer.alloc(0)), '{"$binary":{"base64":"","subType":"00"}}'],
    [
      "binary of the old subtype",
      new Binary(Buffer.from("hello"), 2),
      '{"$binary":{"base64":"aGVsbG8=","subType":"02"}}',
    ],
    ["binary of a user's subtype", new Binary(Buffer.from([1]), 0xf0), '{"$binary":{"base64":"AQ==","subType":"f0"}}'],
    [
      "a regular expression",
      new BSONRegExp('^a"/b*+', "im"),
      '{"$regularExpression":{"pattern":"^a\\"/b*+","options":"im"}}',
    ],
    ["an empty regular expression", new BSONRegExp("", ""), '{"$regularExpression":{"pattern":"","options":""}}'],
    ["a timestamp", new Timestamp({ t: 4_000_000_000, i: 5 }), '{"$timestamp":{"t":4000000000,"i":5}}'],
    ["code", new Code('return "1"'), '{"$code":"return \\"1\\""}'],
    [
      "code with a scope",
      new Code("return x", { x: Long.fromNumber(1), y: [true] }),
      '{"$code":"return x","$scope":{"x":{"$numberLong":"1"},"y":[true]}}',
    ],
    ["a symbol", new BSONSymbol("s"), '{"$symbol":"s"}'],
    ["MinKey", new MinKey(), '{"$minKey":1}'],
    ["MaxKey", new MaxKey(), '{"$maxKey":1}'],
    [
      "a DBRef",
      new DBRef("users", new ObjectId("652f1b2c3d4e5f6071829304"), "shop"),
      '{"$ref":"users","$id":{"$oid":"652f1b2c3d4e5f6071829304"},"$db":"shop"}',
    ],
    ["an array", [new Int32(1), [], [null]], '[{"$numberInt":"1"},[],[null]]'],
    ["a document", { b: new Int32(1), a: {}, __proto__: null, é: "ö" }, '{"b":{"$numberInt":"1"},"a":{},"é":"ö"}'],
  ];
  for (const [name, value, text] of rows) {
    it(`shows ${name}, which the driver reads back as it was`, () => {
      const bytes = bytesOf(value);
      expect(encodeExtended(bytes)).to.equal(`{"value":${text}}`);
      expect(stored(encodeExtended(bytes)).equals(bytes)).to.equal(true);
    });
  }

  // What the driver itself can't write, or not read.
  const date = Buffer.alloc(8);
  date.writeBigInt64LE(9_000_000_000_000_000n);
  const pointer = Buffer.concat([Buffer.from([2, 0, 0, 0]), Buffer.from("c\0"), Buffer.alloc(12, 1)]);
  const rare: [name: string, bytes: Buffer, text: string][] = [
    ["undefined", raw(0x06, "v", Buffer.alloc(0)), '{"v":{"$undefined":true}}'],
    ["a date beyond JavaScript's", raw(0x09, "v", date), '{"v":{"$date":{"$numberLong":"9000000000000000"}}}'],
    ["a DBPointer", raw(0x0c, "v", pointer), `{"v":{"$dbPointer":{"$ref":"c","$id":{"$oid":"${"01".repeat(12)}"}}}}`],
    ["a key named __proto__", raw(0x0a, "__proto__", Buffer.alloc(0)), '{"__proto__":null}'],
    ["text that is no UTF-8", raw(0x02, "v", Buffer.from([3, 0, 0, 0, 0xff, 0x62, 0])), '{"v":"\uFFFDb"}'],
  ];
  for (const [name, bytes, text] of rare) {
    it(`shows ${name}`, () => expect(encodeExtended(bytes)).to.equal(text));
  }

  it("keeps keys that are numbers in their order", () => {
    const parts = ["2", "1"].map((key) => raw(0x0a, key, Buffer.alloc(0)).subarray(4, -1));
    const body = Buffer.concat([...parts, Buffer.from([0])]);
    expect(encodeExtended(Buffer.concat([Buffer.from([4 + body.length, 0, 0, 0]), body]))).to.equal(
      '{"2":null,"1":null}',
    );
  });

  it("is refused for bytes that are no document", () => {
    for (const bytes of [Buffer.alloc(4), Buffer.from([5, 0, 0, 0, 1]), raw(0x55, "v", Buffer.alloc(0))]) {
      expect(() => encodeExtended(bytes)).to.throw(BSON.BSONError);
    }
  });

  it("says what the driver says, of documents of every kind", () => {
    fc.assert(
      fc.property(batches(10, 1), ([documents]) => {
        for (const document of documents) {
          const bytes = BSON.serialize(document);
          const text = encodeExtended(bytes);
          expect(stored(text).equals(bytes), text).to.equal(true);
          const read = BSON.deserialize(bytes, { promoteValues: false, bsonRegExp: true });
          expect(JSON.parse(text)).to.deep.equal(JSON.parse(EJSON.stringify(read, { relaxed: false })));
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("a representation in Extended JSON", () => {
  const encode = (shown: Parameters<typeof createExtendedRepresentation>[0], document: Document): string =>
    createExtendedRepresentation(shown).encode(decode(BSON.serialize(document)), BSON.serialize(document));

  it("shows _id as id, first, and hides a field of that name", () => {
    expect(encode({}, { a: "x", id: "mine", _id: new Int32(7) })).to.equal('{"id":{"$numberInt":"7"},"a":"x"}');
  });

  it("shows the same fields as the other mapping", () => {
    const text = (name: string) => `${name} text`;
    const document = {
      _id: "1",
      user: { name: text("n"), secret: "1", deep: { a: text("a"), b: "b" } },
      items: [{ a: text("1"), b: "2" }, "3", [{ a: text("4"), b: "5" }, "6"], null],
      other: "1",
      "user.name": "dotted",
    };
    for (const fields of [
      [],
      ["user.name", "items.a"],
      ["items"],
      ["user.deep", "user.name"],
      ["other.x", "user.deep.a"],
    ]) {
      // Of strings both make the same.
      expect(encode({ fields }, document)).to.equal(createRepresentation({ fields }).encode(document));
    }
    expect(encode({}, document)).to.equal(createRepresentation({}).encode(document));
  });

  it("may be of a function, whose result is shown as it would be stored, with the document's own id", () => {
    const representation = ({ a }: Document) => ({ double: a * 2.5, whole: a, at: new Date(0), id: "other" });
    expect(
      JSON.parse(encode({ representation }, { _id: new ObjectId("652f1b2c3d4e5f6071829304"), a: 1 })),
    ).to.deep.equal({
      id: { $oid: "652f1b2c3d4e5f6071829304" },
      double: { $numberDouble: "2.5" },
      whole: { $numberInt: "1" },
      at: { $date: { $numberLong: "0" } },
    });
  });
});
