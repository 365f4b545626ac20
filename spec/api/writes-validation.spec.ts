import { expect } from "chai";
import type { Document } from "mongodb";
import { fieldErrorsOf } from "../../src/api/writes-errors.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { type Send, sender } from "./writes-client.js";

const schema = {
  bsonType: "object",
  required: ["name", "size"],
  properties: {
    name: { bsonType: "string", description: "a name is a text" },
    size: { bsonType: "object", required: ["width"], properties: { width: { bsonType: "int", minimum: 3 } } },
    tags: { bsonType: "array", items: { enum: ["red", "blue"] } },
    secret: { bsonType: "int" },
  },
};

describe("the validator of a collection", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let send: Send;

  before(async () => {
    database = await freshDatabase();
    await database.db.createCollection("parts", { validator: { $jsonSchema: schema } });
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: {
        parts: { read: true, write: true },
        named: { collection: "parts", read: true, write: true, fields: ["name", "size.width"] },
      },
    });
    send = sender(gateway.url);
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("says field by field what it refuses: 422", async () => {
    const added = await send("POST", "parts", { name: 7, size: { width: 1 }, tags: ["red", "green"] });
    expect(added.outcome).to.equal("422 validation-failed");
    const errors = added.body.errors as { path: string; message: string }[];
    expect(errors.map(({ path }) => path).sort()).to.deep.equal(["name", "size.width", "tags.1"]);
    expect(errors.find(({ path }) => path === "size.width")?.message).to.equal(
      "does not satisfy minimum 3: comparison failed",
    );
    expect((await send("POST", "parts", { size: {} })).body.errors).to.have.deep.members([
      { path: "name", message: "is required" },
      { path: "size.width", message: "is required" },
    ]);
    expect((await send("POST", "parts", { id: "p", name: "a", size: { width: 3 } })).outcome).to.equal("201");
    const changed = await send("PATCH", "parts/p", { name: null });
    expect([changed.outcome, changed.body.errors]).to.deep.equal([
      "422 validation-failed",
      [{ path: "name", message: "is required" }],
    ]);
    expect((await send("GET", "parts/p")).body).to.deep.equal({ id: "p", name: "a", size: { width: 3 } });
  });

  it("is asked of a number as the type that Extended JSON gives it", async () => {
    for (const [type, outcome] of [
      ["$numberInt", "201"],
      ["$numberLong", "422 validation-failed"],
      ["$numberDouble", "422 validation-failed"],
    ] as const) {
      const added = await send("POST", "parts", { name: "a", size: { width: { [type]: "3" } } });
      expect(added.outcome, type).to.equal(outcome);
      if (added.status !== 201) expect(added.body).to.have.nested.property("errors[0].path", "size.width");
    }
  });

  it("names no field that the interface does not show, and no value", async () => {
    const parts = database.db.collection<Document>("parts");
    await parts.insertOne({ _id: "s", name: "a", size: { width: 3 }, secret: "canary" } as unknown as Document, {
      bypassDocumentValidation: true,
    });
    const { outcome, body } = await send("PATCH", "named/s", { size: { width: 1 } });
    expect(outcome).to.equal("422 validation-failed");
    expect(body.errors).to.deep.equal([
      { path: "size.width", message: "does not satisfy minimum 3: comparison failed" },
      { path: "", message: "does not satisfy the validator of the collection" },
    ]);
    expect(JSON.stringify(body)).not.to.match(/secret|canary/);
  });

  it("is understood in the forms that MongoDB documents", () => {
    const rules = [
      {
        operatorName: "properties",
        propertiesNotSatisfied: [
          {
            propertyName: "name",
            description: "a name is a text",
            details: [{ operatorName: "bsonType", specifiedAs: { bsonType: "string" }, reason: "type did not match" }],
          },
          {
            propertyName: "lines",
            details: [
              {
                operatorName: "items",
                reason: "At least one item did not match the sub-schema",
                itemIndex: 2,
                details: [{ operatorName: "required", specifiedAs: { required: ["n"] }, missingProperties: ["n"] }],
              },
            ],
          },
        ],
      },
      {
        operatorName: "additionalProperties",
        specifiedAs: { additionalProperties: false },
        additionalProperties: ["x"],
      },
      {
        operatorName: "patternProperties",
        details: [
          {
            propertyName: "p1",
            regexMatched: "^p",
            details: [{ operatorName: "maximum", specifiedAs: { maximum: 9 } }],
          },
        ],
      },
      { operatorName: "anyOf", schemasNotSatisfied: [{ index: 0, details: [{ operatorName: "required" }] }] },
      {
        operatorName: "allOf",
        schemasNotSatisfied: [{ index: 0, details: [{ operatorName: "required", missingProperties: ["q"] }] }],
      },
    ];
    const errors = fieldErrorsOf({ operatorName: "$jsonSchema", schemaRulesNotSatisfied: rules }, undefined);
    expect(errors).to.deep.equal([
      { path: "name", message: "a name is a text" },
      { path: "lines.2.n", message: "is required" },
      { path: "x", message: "is not allowed" },
      { path: "p1", message: "does not satisfy maximum 9" },
      { path: "", message: "does not satisfy anyOf" },
      { path: "q", message: "is required" },
    ]);
    const clauses = {
      operatorName: "$and",
      clausesNotSatisfied: [
        { index: 0, details: { operatorName: "$gt", specifiedAs: { n: { $gt: 3 } }, reason: "comparison failed" } },
      ],
    };
    expect(fieldErrorsOf(clauses, ["n"])).to.deep.equal([
      { path: "n", message: "does not satisfy $gt: comparison failed" },
    ]);
    const nothing = [{ path: "", message: "does not satisfy the validator of the collection" }];
    expect(fieldErrorsOf(clauses, ["m"])).to.deep.equal(nothing);
    expect(fieldErrorsOf(undefined, undefined)).to.deep.equal(nothing);
  });
});
