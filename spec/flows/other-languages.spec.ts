import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { ensureSecantus } from "../../replica-set/secantus.mjs";
import { connectClient } from "../support/client.js";
import { startTestGateway } from "../support/gateway.js";
import { freshDatabase } from "../support/server.js";

/** The Python driver comes with the local database's tools: writes in another language than the gateway's own. */
async function python(code: string, uri: string): Promise<void> {
  const interpreter = join(dirname(await ensureSecantus()), "python");
  const child = spawn(interpreter, ["-c", code, uri], { stdio: ["ignore", "inherit", "inherit"] });
  const [status] = await once(child, "close");
  expect(status, "Python's exit code").to.equal(0);
}

const everyType = `
import sys, datetime, uuid, decimal
import bson, pymongo
from bson.codec_options import CodecOptions
from bson.binary import Binary, UuidRepresentation
client = pymongo.MongoClient(sys.argv[1])
db = client.get_default_database(codec_options=CodecOptions(uuid_representation=UuidRepresentation.STANDARD))
db.things.insert_one({
  "_id": bson.ObjectId("652f1b2c3d4e5f6071829304"),
  "double": 1.5, "nan": float("nan"), "infinity": float("inf"),
  "string": "caf\\u00e9 \\U0001F600", "document": {"a": {"b": 1}}, "array": [1, "two", [3]],
  "binary": Binary(b"hello"), "uuid": uuid.UUID("0191d7f0-1c3a-7abc-8def-0123456789ab"),
  "id_of_other": bson.ObjectId("652f1b2c3d4e5f6071829305"), "yes": True, "no": False,
  "date": datetime.datetime(2024, 2, 29, 12, 34, 56, 789000), "early": datetime.datetime(1066, 10, 14),
  "null": None, "regex": bson.Regex("^a/b*+", "i"), "code": bson.Code("return 1"), "scoped": bson.Code("return x", {"x": 1}),
  "int32": 7, "int64": bson.Int64(2**53 + 1), "small64": bson.Int64(5), "timestamp": bson.Timestamp(1700000000, 5),
  "decimal": bson.Decimal128("0.10"), "min": bson.MinKey(), "max": bson.MaxKey(),
  "ref": bson.DBRef("users", 5),
})
db.things.update_one({"double": 1.5}, {"$set": {"document.a.b": bson.Int64(-2**63)}, "$unset": {"nan": ""}, "$push": {"array": 4}})
`;

const everyTypeAsJson = {
  id: "652f1b2c3d4e5f6071829304",
  double: 1.5,
  nan: null,
  infinity: null,
  string: "café \u{1F600}",
  document: { a: { b: 1 } },
  array: [1, "two", [3]],
  binary: "aGVsbG8=",
  uuid: "0191d7f0-1c3a-7abc-8def-0123456789ab",
  id_of_other: "652f1b2c3d4e5f6071829305",
  yes: true,
  no: false,
  date: "2024-02-29T12:34:56.789Z",
  early: "1066-10-14T00:00:00.000Z",
  null: null,
  regex: "/^a/b*+/i",
  code: "return 1",
  scoped: { code: "return x", scope: { x: 1 } },
  int32: 7,
  int64: "9007199254740993",
  small64: 5,
  timestamp: { t: 1700000000, i: 5 },
  decimal: "0.10",
  min: "MinKey",
  max: "MaxKey",
  ref: { $ref: "users", $id: 5 },
};

describe("a program in another language", () => {
  it("writes every BSON type, and connections get them as documented, as does the API", async () => {
    const database = await freshDatabase();
    const gateway = await startTestGateway({ mongo: database.uri, interfaces: { things: { read: true } } });
    const client = await connectClient(gateway.websocketUrl);
    await python(everyType, database.uri);
    const [inserted, updated] = await client.take(2);
    expect(inserted).to.deep.equal({ interface: "things", operation: "insert", data: everyTypeAsJson });
    const { nan: _, ...rest } = everyTypeAsJson;
    const after = { ...rest, array: [1, "two", [3], 4], document: { a: { b: "-9223372036854775808" } } };
    expect(updated).to.deep.equal({ interface: "things", operation: "update", data: after });
    const { data } = (await (await fetch(`${gateway.url}/api/things`)).json()) as { data: unknown[] };
    expect(data).to.deep.equal([after]);
    await client.close();
    await gateway.stop();
    await database.dispose();
  }).timeout(60_000);
});
