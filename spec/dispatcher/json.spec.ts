import { expect } from "chai";
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
import { encodeValue } from "../../src/dispatcher/json.js";
import { createRepresentation } from "../../src/dispatcher/representation.js";

/** What the driver hands the gateway for a value that some program wrote. */
const stored = (value: unknown): unknown => {
  const bytes = BSON.serialize({ value }, { ignoreUndefined: false });
  return BSON.deserialize(bytes, { ...decoding, validation: { utf8: false } }).value;
};
const shown = (value: unknown): unknown => JSON.parse(encodeValue(stored(value)));

describe("the BSON-to-JSON mapping (hazard 13)", () => {
  const rows: [name: string, value: unknown, json: unknown][] = [
    ["a double", new Double(1.5), 1.5],
    ["a double without fraction", new Double(3), 3],
    ["a double that is not a number", new Double(Number.NaN), null],
    ["an infinite double", new Double(Number.POSITIVE_INFINITY), null],
    ["an int32", new Int32(-7), -7],
    ["an int64 that a number holds", Long.fromString("9007199254740991"), 9007199254740991],
    ["an int64 beyond that", Long.fromString("9007199254740993"), "9007199254740993"],
    ["the smallest int64", Long.MIN_VALUE, "-9223372036854775808"],
    ["a Decimal128", Decimal128.fromString("0.10"), "0.10"],
    ["a string", 'quote " and \u2028 and \u{1F600}', 'quote " and \u2028 and \u{1F600}'],
    ["a lone surrogate's replacement", "a\uFFFD", "a\uFFFD"],
    ["a boolean", true, true],
    ["null", null, null],
    ["undefined", undefined, null],
    ["an ObjectId", new ObjectId("652f1b2c3d4e5f6071829304"), "652f1b2c3d4e5f6071829304"],
    ["a date", new Date("2024-02-29T12:34:56.789Z"), "2024-02-29T12:34:56.789Z"],
    ["a date before 1970", new Date(-1), "1969-12-31T23:59:59.999Z"],
    ["a UUID", new UUID("0191d7f0-1c3a-7abc-8def-0123456789ab"), "0191d7f0-1c3a-7abc-8def-0123456789ab"],
    ["binary", new Binary(Buffer.from("hello")), "aGVsbG8="],
    ["an old UUID", new Binary(Buffer.alloc(16, 1), 3), "AQEBAQEBAQEBAQEBAQEBAQ=="],
    ["a regular expression", new BSONRegExp("^a/b*+", "im"), "/^a/b*+/im"],
    ["a timestamp", new Timestamp({ t: 1700000000, i: 5 }), { t: 1700000000, i: 5 }],
    ["code", new Code("return 1"), "return 1"],
    [
      "code with a scope",
      new Code("return x", { x: Long.MAX_VALUE }),
      { code: "return x", scope: { x: "9223372036854775807" } },
    ],
    ["a symbol", new BSONSymbol("s"), "s"],
    ["MinKey", new MinKey(), "MinKey"],
    ["MaxKey", new MaxKey(), "MaxKey"],
    [
      "a DBRef",
      new DBRef("users", new ObjectId("652f1b2c3d4e5f6071829304")),
      { $ref: "users", $id: "652f1b2c3d4e5f6071829304" },
    ],
    [
      "an array",
      [1, [Long.MAX_VALUE], { a: new ObjectId("652f1b2c3d4e5f6071829304") }],
      [1, ["9223372036854775807"], { a: "652f1b2c3d4e5f6071829304" }],
    ],
    ["an empty document", {}, {}],
  ];
  for (const [name, value, json] of rows) {
    it(`shows ${name}`, () => {
      expect(shown(value)).to.deep.equal(json);
    });
  }

  it("shows a date beyond JavaScript's range as null", () => {
    const bytes = Buffer.from(BSON.serialize({ value: new Date(0) }));
    bytes.writeBigInt64LE(9_000_000_000_000_000n, 11);
    expect(encodeValue(BSON.deserialize(bytes, decoding).value)).to.equal("null");
  });

  it("shows a document that has the keys of a type as the document that it is", () => {
    const document = { _bsontype: "ObjectId", $oid: "x", toJSON: "y" };
    expect(JSON.parse(encodeValue(document))).to.deep.equal(document);
  });

  it("keeps a key named __proto__ as a key", () => {
    const document = JSON.parse('{"__proto__": {"polluted": true}, "a": 1}') as Document;
    expect(encodeValue(stored(document))).to.equal('{"__proto__":{"polluted":true},"a":1}');
    expect(({} as { polluted?: boolean }).polluted).to.equal(undefined);
  });

  it("shows what only an application's representation can hold", () => {
    expect(
      encodeValue({ a: 10n, b: 2n ** 60n, c: new Uint8Array([1, 2]), d: () => 1, e: new URL("http://a/") }),
    ).to.equal('{"a":10,"b":"1152921504606846976","c":"AQI=","d":null,"e":"http://a/"}');
  });
});

describe("a representation", () => {
  const encode = (fields: string[] | undefined, document: Document): unknown =>
    JSON.parse(createRepresentation(fields === undefined ? {} : { fields }).encode(document));

  it("shows _id as id, first, and hides a field of that name", () => {
    expect(createRepresentation({}).encode({ a: 1, id: "mine", _id: 7 })).to.equal('{"id":7,"a":1}');
  });

  it("shows nested paths, through arrays too, as a projection does", () => {
    const document = { _id: 1, user: { name: "n", secret: 1 }, items: [{ a: 1, b: 2 }, 3, [{ a: 4, b: 5 }]], other: 1 };
    expect(encode(["user.name", "items.a"], document)).to.deep.equal({
      id: 1,
      user: { name: "n" },
      items: [{ a: 1 }, [{ a: 4 }]],
    });
  });

  it("leaves out what is missing, and what has no such path", () => {
    expect(encode(["state", "user.name"], { _id: 1, user: "text" })).to.deep.equal({ id: 1 });
  });

  it("knows which updates can't show", () => {
    const { mayShow } = createRepresentation({ fields: ["state", "user.name", "items.a"] });
    for (const path of ["state", "state.deeper", "user", "user.name.first", "items", "items.3.a", "items.3"]) {
      expect(mayShow({ touched: [path] }), path).to.equal(true);
    }
    for (const path of ["states", "user.age", "items.3.b", "hidden"])
      expect(mayShow({ touched: [path] }), path).to.equal(false);
  });

  it("may be a function, whose result is shown with the document's own id", () => {
    const { encode: encoded } = createRepresentation({ representation: ({ a }) => ({ double: a * 2, id: "other" }) });
    expect(encoded({ _id: 1, a: 2 })).to.equal('{"id":1,"double":4}');
  });
});
