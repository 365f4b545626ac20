import { expect } from "chai";
import { BSON } from "mongodb";
import { RequestError } from "../../src/errors.js";
import { combineFilters, parseFilter, parseFilterText, parseSort } from "../../src/filter/parse.js";

const hex = "652f1f77bcf86cd799439011";

describe("parsing a filter", () => {
  it("gives the driver a query and the paths that it reads, with id renamed", () => {
    const filter = parseFilter({ id: 7, "user.id": "u1", items: { $elemMatch: { id: { $gt: 5 } } } });
    expect(filter.query).to.eql({
      _id: { $eq: 7 },
      "user.id": { $eq: "u1" },
      items: { $elemMatch: { id: { $gt: 5 } } },
    });
    expect(filter.paths).to.eql(["_id", "items", "items.id", "user.id"]);
  });

  it("gives filters that differ in the order of their conditions only the same text", () => {
    const same = [
      { b: 1, a: { $gt: 1, $lt: 5 } },
      { a: { $lt: 5, $gt: 1 }, b: { $eq: 1 } },
      { $and: [{ a: { $gt: 1 } }, { $and: [{ b: 1 }, { a: { $lt: 5 } }] }, { b: 1 }] },
    ];
    expect(new Set(same.map((each) => parseFilter(each).canonical)).size).to.equal(1);
    expect(parseFilter({ a: { $in: [2, 1, 2] } }).canonical).to.equal(parseFilter({ a: { $in: [1, 2] } }).canonical);
    expect(parseFilter({ $or: [{ a: 1 }, { b: 1 }] }).canonical).to.equal(
      parseFilter({ $or: [{ b: 1 }, { a: 1 }] }).canonical,
    );
  });

  it("keeps apart what MongoDB keeps apart", () => {
    const different = [
      ...[
        { a: { x: 1, y: 2 } },
        { a: { y: 2, x: 1 } },
        { a: [1, 2] },
        { a: [2, 1] },
        { a: "1" },
        { a: 1 },
        { a: true },
      ],
      ...[{ a: { $oid: hex } }, { a: hex }, { "a.x": 1 }, { a: null }, {}, { $nor: [{ a: 1 }] }, { a: { $ne: 1 } }],
      ...[{ $or: [{ a: 1 }, { b: 1 }] }, { a: 1, b: 1 }, { a: { $date: "2026-01-01T00:00:00Z" } }],
      ...[{ a: { $regex: "x" } }, { a: { $regex: "x", $options: "i" } }, { a: { $elemMatch: { $eq: 1 } } }],
    ];
    expect(new Set(different.map((each) => parseFilter(each).canonical)).size).to.equal(different.length);
  });

  it("does not let two conditions on one path hide each other", () => {
    const { query } = parseFilter({
      $and: [{ a: { $gt: 1 } }, { a: { $gt: 2 } }, { a: { $regex: "x" } }, { a: /y/i }],
    });
    expect(query).to.eql({
      a: { $gt: 1, $regex: "x" },
      $and: [{ a: { $gt: 2 } }, { a: { $regex: "y", $options: "i" } }],
    });
  });

  it("reads relaxed and canonical Extended JSON", () => {
    const values: [unknown, unknown][] = [
      [{ $oid: hex }, new BSON.ObjectId(hex)],
      [{ $date: "2026-01-31T12:00:00Z" }, new Date("2026-01-31T12:00:00Z")],
      [{ $date: { $numberLong: "5" } }, new Date(5)],
      [{ $numberLong: "9007199254740993" }, BSON.Long.fromString("9007199254740993")],
      [{ $numberInt: "5" }, new BSON.Int32(5)],
      [{ $numberDouble: "-Infinity" }, new BSON.Double(-Infinity)],
      [{ $numberDecimal: "1.10" }, BSON.Decimal128.fromString("1.10")],
      [{ $uuid: "00000000-0000-4000-8000-000000000001" }, new BSON.UUID("00000000-0000-4000-8000-000000000001")],
      [{ $binary: { base64: "YQ==", subType: "80" } }, new BSON.Binary(Buffer.from("a"), 128)],
      [{ $timestamp: { t: 1, i: 2 } }, new BSON.Timestamp({ t: 1, i: 2 })],
      [{ $minKey: 1 }, new BSON.MinKey()],
    ];
    for (const [input, value] of values)
      expect(parseFilter({ a: input }).query, JSON.stringify(input)).to.eql({ a: { $eq: value } });
  });

  it("looks for a public id of 24 hexadecimal digits as text and as ObjectId", () => {
    const both = [new BSON.ObjectId(hex), hex];
    expect(parseFilter({ id: hex }).query._id.$in).to.have.deep.members(both);
    expect(parseFilter({ id: { $ne: hex } }).query._id.$nin).to.have.deep.members(both);
    expect(parseFilter({ id: { $in: [hex, 5] } }).query._id.$in).to.have.deep.members([...both, 5]);
    expect(parseFilter({ id: { $nin: [hex] } }).query._id.$nin).to.have.deep.members(both);
    expect(parseFilter({ id: { $gt: hex } }).query).to.eql({ _id: { $gt: hex } });
    expect(parseFilter({ owner: hex }).query).to.eql({ owner: { $eq: hex } });
    expect(parseFilter({ "items.id": hex }).query).to.eql({ "items.id": { $eq: hex } });
    expect(parseFilter({ id: { $oid: hex } }).query).to.eql({ _id: { $eq: new BSON.ObjectId(hex) } });
  });

  it("combines a filter with a rule", () => {
    const combined = combineFilters(
      parseFilter({ a: 1 }),
      parseFilter({ a: { $gt: 0 }, $or: [{ b: 1 }, { c: 1 }] }),
      parseFilter({}),
    );
    expect(combined.canonical).to.equal(parseFilter({ $or: [{ c: 1 }, { b: 1 }], a: { $gt: 0, $eq: 1 } }).canonical);
    expect(combined.paths).to.eql(["a", "b", "c"]);
  });
});

const refusals: Record<string, [unknown, string][]> = {
  "operator-not-supported": [
    [{ $where: "1" }, "code"],
    [{ $expr: { $eq: ["$a", 1] } }, "compare fields with values"],
    [{ $text: { $search: "x" } }, "$regex"],
    [{ $jsonSchema: {} }, "$type"],
    [{ $comment: "x" }, "$and"],
    [{ $unknown: 1 }, "$unknown"],
    [{ a: { $where: "1" } }, "filter.a"],
    [{ a: { $function: {} } }, "code"],
    [{ a: { $near: [0, 0] } }, "$near"],
    [{ a: { $gt: 1, x: 1 } }, '"x"'],
    [{ a: { x: 1, $gt: 1 } }, "dotted path"],
    [{ a: { b: { $gt: 1 } } }, "filter.a.b"],
    [{ a: { $in: [{ $gt: 1 }] } }, "filter.a.$in[0]"],
    [{ a: { $eq: { $where: "1" } } }, "$where"],
    [{ $or: [{ a: 1 }, { b: { $elemMatch: { $where: "1" } } }] }, "filter.$or[1].b.$elemMatch"],
  ],
  "bad-filter": [
    ...[null, 5, "x", [], [{ a: 1 }], { $oid: hex }]
      .map((input): [unknown, string] => [{ $and: [input] }, "filter.$and[0]"])
      .slice(0, 5),
    [undefined, "object"],
    [{ "": 1 }, "empty"],
    [{ "a..b": 1 }, "empty"],
    [{ "a.": 1 }, "empty"],
    [{ "a.$b": 1 }, "$b"],
    [{ "a\0b": 1 }, "NUL"],
    [JSON.parse('{"__proto__": 1}'), "__proto__"],
    [{ "a.constructor": 1 }, "constructor"],
    [{ "a.prototype.b": 1 }, "prototype"],
    [{ a: JSON.parse('{"__proto__": {"x": 1}}') }, "__proto__"],
    [{ a: { b: { constructor: 1 } } }, "constructor"],
    [{ a: { _bsontype: "ObjectId", id: "x" } }, "_bsontype"],
    [{ _bsontype: "ObjectId" }, "_bsontype"],
    [{ "a._bsontype": 1 }, "_bsontype"],
    [{ a: { 7: 1 } }, "dotted path"],
    [JSON.parse(`{"a": 9007199254740993}`), "$numberLong"],
    [{ a: "\ud800" }, "Unicode"],
    [{ a: { $gt: { b: 1 } } }, "sub-documents"],
    [{ a: { $gt: [{ b: 1 }] } }, "sub-documents"],
    [{ a: { $in: 5 } }, "list"],
    [{ a: { $and: [] } }, ""],
    [{ $and: [] }, "at least one"],
    [{ $or: { a: 1 } }, "list"],
    [{ a: { $exists: 1 } }, "true or false"],
    [{ a: { $size: -1 } }, "whole number"],
    [{ a: { $size: 1.5 } }, "whole number"],
    [{ a: { $type: "str" } }, '"str"'],
    [{ a: { $type: [] } }, "at least one"],
    [{ a: { $type: "int" } }, '"number"'],
    [{ a: { $type: [1, 16] } }, '"number"'],
    [{ a: { $type: "symbol" } }, "symbol"],
    [{ a: { $mod: [0, 1] } }, "divisor"],
    [{ a: { $mod: [2] } }, "two integers"],
    [{ a: { $mod: [2.5, 1] } }, "two integers"],
    [{ a: { $not: 5 } }, "operators"],
    [{ a: { $not: {} } }, "operators"],
    [{ a: { $ne: { $regularExpression: { pattern: "x", options: "" } } } }, "$not"],
    [{ a: { $gt: /x/ } }, "regular expression"],
    [{ a: { $options: "i" } }, "$regex"],
    [{ a: { $regex: 5 } }, "string"],
    [{ a: { $regex: "x", $options: "g" } }, "options"],
    [{ a: { $regex: "x", $options: "x" } }, "options"],
    [{ a: { $all: [1, { $elemMatch: {} }] } }, "not both"],
    [{ a: { $elemMatch: 5 } }, "object"],
    [{ a: { $undefined: true } }, "$exists"],
    [{ a: { $code: "x" } }, "code"],
    [{ a: { $oid: "x" } }, "24 hexadecimal"],
    [{ a: { $oid: hex, x: 1 } }, "form"],
    [{ a: { $oid: hex, $gt: 1 } }, "form"],
    [{ a: { $date: "yesterday" } }, "form"],
    [{ a: { $date: "2026-13-01T00:00:00Z" } }, "form"],
    [{ a: { $numberLong: "9223372036854775808" } }, "form"],
    [{ a: { $numberInt: "2147483648" } }, "form"],
    [{ a: { $numberDouble: "0x10" } }, "form"],
    [{ a: { $numberDecimal: "x" } }, "form"],
    [{ a: { $uuid: "x" } }, "form"],
    [{ a: { $binary: { base64: "*", subType: "00" } } }, "form"],
    [{ a: { $timestamp: { t: -1, i: 0 } } }, "form"],
    [{ a: new Date(Number.NaN) }, "date"],
    [{ a: new Map() }, "BSON type"],
    [{ a: () => 1 }, "function"],
    [{ a: 2n ** 63n }, "64 bits"],
    [{ a: undefined }, "undefined"],
    [{ id: { $not: { $eq: hex, $in: [5] } } }, "$in"],
  ],
};

describe("refusing a filter", () => {
  for (const [code, cases] of Object.entries(refusals)) {
    for (const [input, hint] of cases) {
      it(`answers 400 ${code} to ${shown(input)}`, () => {
        const error = refusalOf(() => parseFilter(input));
        expect([error.status, error.message === "" ? "" : "message"]).to.eql([400, "message"]);
        if (hint !== "") expect(error).to.include({ code });
        expect(error.message).to.include(hint);
      });
    }
  }

  it("tells the position of what is not JSON", () => {
    const cases: [string, number][] = [
      ...[
        ['{"a": }', 6],
        ['{"a": 1', 7],
        ["", 0],
        ["  ", 2],
        ["{a: 1}", 1],
        ['{"a": 01}', 7],
        ['{"a": 1,}', 8],
      ],
      ...[
        ['{"a": [1,]}', 9],
        ['{"a": "x\n"}', 6],
        ['{"a": 1}}', 8],
        ['{"a" 1}', 1],
        ["[]]", 2],
        ['{"a": tru}', 6],
        ["[,1]", 1],
      ],
    ] as [string, number][];
    for (const [text, position] of cases) {
      expect(
        refusalOf(() => parseFilterText(text)),
        text,
      ).to.deep.include({ code: "bad-filter", extensions: { position } });
    }
    expect(parseFilterText('{"a": {"$gt": 1}}').query).to.eql({ a: { $gt: 1 } });
  });
});

describe("the paths that a client may name", () => {
  const allowedPaths = ["state", "user.name", "items.price"];
  const free = [
    ...[
      { state: 1 },
      { "state.x": 1 },
      { "user.name": 1 },
      { "user.name.first": 1 },
      { id: 1 },
      { _id: 1 },
      { "id.x": 1 },
    ],
    ...[
      { items: { $elemMatch: { price: 1 } } },
      { $or: [{ state: 1 }] },
      { items: { $not: { $elemMatch: { price: 5 } } } },
    ],
    ...[{ items: { $all: [{ $elemMatch: { price: 1 } }] } }].slice(1),
  ];
  const hidden = [
    ...[{ user: 1 }, { user: { $exists: true } }, { "user.nam": 1 }, { "user.names": 1 }, { secret: 1 }, { State: 1 }],
    ...[
      { "items.0.price": 1 },
      { items: { $elemMatch: { cost: 1 } } },
      { items: { $elemMatch: {} } },
      { items: { $size: 1 } },
    ],
    ...[
      { items: { $elemMatch: { $and: [{}] } } },
      { items: { $elemMatch: { $gt: 1 } } },
      { items: { $not: { $size: 1 } } },
    ],
    ...[
      { items: { $elemMatch: { price: 1, "x.id": 1 } } },
      { items: { $elemMatch: { id: 1 } } },
      { user: { name: "x" } },
    ],
    ...[{ $nor: [{ $and: [{ secret: { $exists: false } }] }] }, { state: 1, secret: { $not: /x/ } }, { idx: 1 }],
  ];

  for (const input of free) {
    it(`include those of ${shown(input)}`, () => {
      expect(parseFilter(input, { allowedPaths }).canonical).to.equal(parseFilter(input).canonical);
    });
  }

  for (const input of hidden) {
    it(`do not include those of ${shown(input)}`, () => {
      const error = refusalOf(() => parseFilter(input, { allowedPaths }));
      expect(error).to.include({ code: "path-not-filterable", status: 400 });
      expect(error.message).to.include("state, user.name, items.price");
    });
  }

  it("are none but id where none is listed", () => {
    expect(parseFilter({ id: 1 }, { allowedPaths: [] }).paths).to.eql(["_id"]);
    expect(refusalOf(() => parseFilter({ a: 1 }, { allowedPaths: [] })).code).to.equal("path-not-filterable");
  });
});

describe("parsing a sort", () => {
  it("reads paths and directions", () => {
    expect(parseSort("-created_at,name,id")).to.eql([
      ["created_at", -1],
      ["name", 1],
      ["_id", 1],
    ]);
    expect(parseSort("")).to.eql([]);
  });

  for (const text of [
    ",",
    "a,",
    "-",
    "--a",
    "a,-a",
    "id,_id",
    "$a",
    "a..b",
    "a.__proto__",
    "a\0",
    "a,b,c,d,e,f,g,h,i",
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      const error = refusalOf(() => parseSort(text, text === "--a" ? [] : undefined));
      expect([400, "bad-sort", "path-not-filterable"]).to.include(error.code);
    });
  }

  it("refuses a path that is not listed, for the order would reveal it (hazard 37a)", () => {
    expect(refusalOf(() => parseSort("-secret", ["name"])).code).to.equal("path-not-filterable");
    expect(refusalOf(() => parseSort("user", ["user.name"])).code).to.equal("path-not-filterable");
    expect(parseSort("user.name", ["user"])).to.eql([["user.name", 1]]);
  });
});

function refusalOf(parse: () => unknown): RequestError {
  try {
    parse();
  } catch (error) {
    if (error instanceof RequestError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

function shown(input: unknown): string {
  const replacer = (_: string, value: unknown) =>
    value instanceof RegExp || typeof value === "bigint" ? String(value) : value;
  return JSON.stringify(input, replacer) ?? String(input);
}
