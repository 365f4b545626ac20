import { expect } from "chai";
import { BSON } from "mongodb";
import { compileFilter } from "../../src/filter/compile.js";
import { equalityOf, indexKey, indexKeysAt } from "../../src/filter/equality.js";
import { parseFilter } from "../../src/filter/parse.js";

describe("taking an equality out of a filter", () => {
  it("leaves the rest", () => {
    const equality = equalityOf(parseFilter({ "user.id": "u1", age: { $gte: 18 } }));
    expect(equality).to.deep.include({ path: "user.id", values: ["u1"] });
    expect(equality?.rest.canonical).to.equal(parseFilter({ age: { $gte: 18 } }).canonical);
    expect(equality?.rest.paths).to.eql(["age"]);
  });

  it("leaves a rest that is true for all where there is nothing else", () => {
    const equality = equalityOf(parseFilter({ a: { $in: [1, 2] } }));
    expect(equality?.values).to.eql([1, 2]);
    expect(equality?.rest.canonical).to.equal("{}");
    expect(compileFilter(equality?.rest ?? parseFilter({ a: 1 }))({})).to.equal(true);
  });

  it("keeps another condition on the same path", () => {
    const equality = equalityOf(parseFilter({ a: { $eq: 1, $in: [1, 2], $gt: 0 } }));
    expect(equality?.values).to.eql([1]);
    expect(equality?.rest.canonical).to.equal(parseFilter({ a: { $in: [1, 2], $gt: 0 } }).canonical);
  });

  it("prefers few values, and anything to true and false", () => {
    expect(equalityOf(parseFilter({ a: { $in: [1, 2, 3] }, b: { $in: [1, 2] }, z: true }))?.path).to.equal("b");
    expect(equalityOf(parseFilter({ a: true }))?.path).to.equal("a");
  });

  it("takes both forms of a public id", () => {
    const equality = equalityOf(parseFilter({ id: "652f1f77bcf86cd799439011" }));
    expect(equality?.path).to.equal("_id");
    expect(equality?.values).to.have.length(2);
  });

  const none = [
    ...[{}, { a: null }, { a: { x: 1 } }, { a: [1] }, { a: /x/ }, { a: { $in: [1, null] } }, { a: { $in: [1, /x/] } }],
    ...[
      { a: { $gt: 1 } },
      { $or: [{ a: 1 }, { b: 1 }] },
      { $nor: [{ a: 1 }] },
      { a: { $ne: 1 } },
      { a: { $not: { $eq: 1 } } },
    ],
    ...[{ a: { $in: [] } }, { a: { $all: [1] } }, { a: { $elemMatch: { $eq: 1 } } }, { a: new BSON.MinKey() }],
  ];
  for (const filter of none) {
    it(`takes none out of ${BSON.EJSON.stringify(filter)}`, () => {
      expect(equalityOf(parseFilter(filter))).to.equal(undefined);
    });
  }
});

describe("the keys that a document is looked up by", () => {
  it("are those of every value that the path yields", () => {
    const document = { a: [{ b: 1 }, { b: ["x", null] }, { b: { c: 1 } }, 5], d: "y" };
    expect(indexKeysAt("a.b")(document)).to.have.members(["n1", "sx"]);
    expect(indexKeysAt("d")(document)).to.eql(["sy"]);
    expect(indexKeysAt("e.f")(document)).to.eql([]);
  });

  it("are not those of the document before", () => {
    const keysOf = indexKeysAt("a");
    const first = keysOf({ a: 1 });
    expect(keysOf({ a: 2 })).to.eql(["n2"]);
    expect(first).to.eql(["n1"]);
  });

  it("tell types apart whose texts are the same", () => {
    const values = ["1", 1, true, new Date(1), new BSON.Timestamp({ t: 0, i: 1 }), "n1", "b1"];
    expect(new Set(values.map(indexKey)).size).to.equal(values.length);
  });
});
