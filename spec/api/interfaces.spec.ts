import { expect } from "chai";
import { BSON, type Document, Long, ObjectId, UUID } from "mongodb";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";
import { getPage, type ListPage, refusalOf } from "./support.js";

const objectId = new ObjectId("5f1a2b3c4d5e6f7a8b9c0d1e");
const uuid = new UUID("0b5f7a52-54fd-4c5e-9f0e-3a7c1d2e4f60");

describe("the API of interfaces", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let url: string;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      allowedOrigins: ["https://app.example.com"],
      interfaces: {
        jobs: { read: true, fields: ["state", "user.name"], filterable: ["team"] },
        made: {
          read: true,
          collection: "jobs",
          filterable: ["state"],
          representation: (job: Document) => ({ label: `${job.state}!` }),
        },
        things: { read: true, write: true },
        hidden: {},
        forNoOne: { collection: "jobs", read: () => false },
      },
    });
    url = gateway.url;
    await database.db.collection<Document>("jobs").insertMany([
      { _id: "a", state: "running", user: { name: "Ann", email: "ann@example.com" }, team: "red", secret: 1 },
      { _id: "b", state: "waiting", user: { name: "Bo", email: "bo@example.com" }, team: "blue", secret: 2 },
      { _id: "c", state: "running", team: "blue", secret: 3 },
    ] as unknown as Document[]);
    await database.db.collection<Document>("things").insertMany([
      { _id: objectId, n: 1 },
      { _id: "5f1a2b3c4d5e6f7a8b9c0d1f", n: 2 },
      { _id: uuid, n: 3 },
      { _id: 7, n: 4 },
      { _id: new Date(0), n: 5 },
      { _id: "with/slash and ünïcode", n: 6 },
      { _id: Long.fromNumber(12), n: 7 },
    ] as unknown as Document[]);
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("lists what the interface shows, and nothing else", async () => {
    const page = await getPage(url, "jobs");
    expect(page.data).to.deep.equal([
      { id: "a", state: "running", user: { name: "Ann" } },
      { id: "b", state: "waiting", user: { name: "Bo" } },
      { id: "c", state: "running" },
    ]);
    expect(Object.keys(page)).to.deep.equal(["data", "next", "position"]);
    expect(page.next).to.equal(null);
    expect(page.position).to.match(/^[0-9a-f]{32}$/);
  });

  it("shows what a function makes of a document, with its id", async () => {
    const page = await getPage(url, "made", { filter: '{"state":"waiting"}' });
    expect(page.data).to.deep.equal([{ id: "b", label: "waiting!" }]);
    expect(await refusalOf(await fetch(`${url}/api/made?fields=label`))).to.equal("400 bad-fields");
    expect(await refusalOf(await fetch(`${url}/api/made?sort=team`))).to.equal("400 path-not-filterable");
  });

  it("filters and sorts by shown and filterable paths, and refuses hidden ones (hazard 37a)", async () => {
    const blue = await getPage(url, "jobs", { filter: '{"team":"blue"}', sort: "-state" });
    expect(blue.data.map((row) => row.id)).to.deep.equal(["b", "c"]);
    for (const filter of ['{"secret":1}', '{"user.email":"x"}', '{"user":{"name":"Ann"}}', '{"$or":[{"secret":1}]}']) {
      const response = await fetch(`${url}/api/jobs?${new URLSearchParams({ filter })}`);
      expect(await refusalOf(response), filter).to.equal("400 path-not-filterable");
    }
    expect(await refusalOf(await fetch(`${url}/api/jobs?sort=-secret`))).to.equal("400 path-not-filterable");
    expect(await refusalOf(await fetch(`${url}/api/jobs?sort=user.name.0`))).to.equal("400 bad-sort");
  });

  it("narrows the fields within those that are shown", async () => {
    const only = async (fields: string) => (await getPage(url, "jobs", { fields, limit: "1" })).data[0];
    expect(await only("state")).to.deep.equal({ id: "a", state: "running" });
    expect(await only("user")).to.deep.equal({ id: "a", user: { name: "Ann" } });
    expect(await only("id")).to.deep.equal({ id: "a" });
    for (const fields of ["secret", "user.email", "team", "", "state,,id", "$where", "__proto__"]) {
      const response = await fetch(`${url}/api/jobs?${new URLSearchParams({ fields })}`);
      expect(await refusalOf(response), fields).to.equal("400 bad-fields");
    }
  });

  it("takes the same query as a body", async () => {
    const query = (body: unknown, type = "application/json") =>
      fetch(`${url}/api/jobs/query`, { method: "POST", headers: { "content-type": type }, body: JSON.stringify(body) });
    const asked = { filter: { team: "blue" }, sort: "-state", fields: ["state"], limit: 1 };
    const first = (await (await query(asked)).json()) as { data: unknown; next: string };
    expect(first.data).to.deep.equal([{ id: "b", state: "waiting" }]);
    const second = (await (await query({ ...asked, cursor: first.next })).json()) as { data: unknown; next: null };
    expect(second.data).to.deep.equal([{ id: "c", state: "running" }]);
    expect(second.next).to.equal(null);
    // The two ways of asking are one: a cursor of one is good for the other.
    const parameters = { filter: '{"team":"blue"}', sort: "-state", fields: "state", cursor: first.next };
    expect((await getPage(url, "jobs", parameters)).data).to.deep.equal(second.data);
    expect(((await (await query({})).json()) as { data: unknown[] }).data).to.have.length(3);
    expect(await refusalOf(await query({ skip: 1 }))).to.equal("400 unknown-parameter");
    expect(await refusalOf(await query({ sort: "" }))).to.equal("400 bad-sort");
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    expect(await refusalOf(await fetch(`${url}/api/jobs/query?limit=1`, init))).to.equal("400 unknown-parameter");
    expect(await refusalOf(await query({ limit: "1" }))).to.equal("400 bad-limit");
    expect(await refusalOf(await query({ filter: [] }))).to.equal("400 bad-filter");
    expect(await refusalOf(await query([]))).to.equal("400 bad-json");
    expect(await refusalOf(await query({}, "text/plain"))).to.equal("415 unsupported-media-type");
  });

  it("refuses limits that are no whole number from 1 to 1000", async () => {
    for (const limit of ["0", "-1", "1001", "NaN", "1.5", "1e2", "", " 1", "0x10", "٣", "99999999999999999999"]) {
      const response = await fetch(`${url}/api/jobs?${new URLSearchParams({ limit })}`);
      expect(await refusalOf(response), limit).to.equal("400 bad-limit");
    }
    expect((await getPage(url, "jobs", { limit: "1000" })).data).to.have.length(3);
  });

  it("refuses parameters that are empty, and takes spaces after commas", async () => {
    for (const name of ["filter", "sort", "fields", "limit", "cursor", "format"]) {
      expect(await refusalOf(await fetch(`${url}/api/jobs?${name}=`)), name).to.equal(`400 bad-${name}`);
    }
    const spaced = await getPage(url, "jobs", { sort: "-state, -user.name", fields: "state, user.name" });
    const ids = spaced.data.map(({ id }) => id);
    expect(ids).to.deep.equal(["b", "a", "c"]);
    expect(spaced.data[0]).to.deep.equal({ id: "b", state: "waiting", user: { name: "Bo" } });
  });

  it("refuses parameters that are unknown or repeated", async () => {
    expect(await refusalOf(await fetch(`${url}/api/jobs?skip=1`))).to.equal("400 unknown-parameter");
    expect(await refusalOf(await fetch(`${url}/api/jobs?limit=1&limit=2`))).to.equal("400 repeated-parameter");
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: '{"limit":1,"limit":2}' };
    const page = (await (await fetch(`${url}/api/jobs/query`, init)).json()) as ListPage;
    expect(page.data, "of the members of a body the last counts").to.have.length(2);
    expect(await refusalOf(await fetch(`${url}/api/jobs/a?fields=state`))).to.equal("400 unknown-parameter");
    expect(await refusalOf(await fetch(`${url}/api/jobs?filter={`))).to.equal("400 bad-filter");
  });

  it("gives single documents by their ids, as the list shows them", async () => {
    const { data } = await getPage(url, "things");
    expect(data).to.have.length(7);
    for (const row of data) {
      const response = await fetch(`${url}/api/things/${encodeURIComponent(String(row.id))}`);
      expect(await response.json()).to.deep.equal(row);
    }
    const missing = ["5f1a2b3c4d5e6f7a8b9c0d10", "8", "x", "%24ne", "07", "7.0", "__proto__", "%00", "%ff"];
    for (const id of missing) {
      expect(await refusalOf(await fetch(`${url}/api/things/${id}`)), id).to.equal("404 not-found");
    }
    expect(await (await fetch(`${url}/api/jobs/a`)).json()).to.deep.equal({
      id: "a",
      state: "running",
      user: { name: "Ann" },
    });
  });

  it("does not tell an interface that may not be read from one that is not there", async () => {
    const answers = new Set<string>();
    for (const name of [
      "hidden",
      "forNoOne",
      "nowhere",
      "system.users",
      "jobs%00",
      "Jobs",
      "constructor",
      "__proto__",
    ]) {
      for (const path of [name, `${name}/a`, `${name}?limit=x`]) {
        const text = await (await fetch(`${url}/api/${path}`)).text();
        answers.add(
          text
            .replaceAll(JSON.stringify(decodeURIComponent(name)).slice(1, -1), "")
            .replace('\\"\\\\u0000\\"', '\\"\\"'),
        );
      }
    }
    expect([...answers].map((text) => text.replace(/jobs.*?\\"/, '\\"'))).to.satisfy((all: string[]) =>
      all.every((text) => text.includes('"code":"unknown-interface"')),
    );
    const post = await fetch(`${url}/api/hidden/query`, { method: "POST", body: "{" });
    expect(await refusalOf(post)).to.equal("404 unknown-interface");
    expect(await refusalOf(await fetch(`${url}/api/hidden`, { method: "DELETE" }))).to.equal("404 unknown-interface");
  });

  it("answers methods that a path does not have with 405 and those that it has", async () => {
    for (const [path, method, allow] of [
      ["jobs", "POST", "GET, HEAD, OPTIONS"],
      ["jobs", "DELETE", "GET, HEAD, OPTIONS"],
      ["jobs/a", "PATCH", "GET, HEAD, OPTIONS"],
      ["jobs/query", "PUT", "GET, HEAD, OPTIONS, POST"],
    ] as const) {
      const response = await fetch(`${url}/api/${path}`, { method });
      expect(response.headers.get("allow"), path).to.equal(allow);
      expect(await refusalOf(response)).to.equal("405 method-not-allowed");
    }
    const options = await fetch(`${url}/api/jobs`, { method: "OPTIONS" });
    expect([options.status, options.headers.get("allow")]).to.deep.equal([204, "GET, HEAD, OPTIONS"]);
    const head = await fetch(`${url}/api/jobs`, { method: "HEAD" });
    expect([head.status, await head.text()]).to.deep.equal([200, ""]);
  });

  it("lets pages of listed origins read, errors too, and no others", async () => {
    for (const path of ["jobs", "nowhere"]) {
      const good = await fetch(`${url}/api/${path}`, { headers: { origin: "https://app.example.com" } });
      expect(good.headers.get("access-control-allow-origin")).to.equal("https://app.example.com");
      for (const origin of ["https://app.example.com.evil.test", "null", "http://app.example.com"]) {
        const bad = await fetch(`${url}/api/${path}`, { headers: { origin } });
        expect(bad.headers.get("access-control-allow-origin"), origin).to.equal(null);
        expect(bad.headers.get("vary")).to.match(/origin/i);
      }
    }
    const preflight = await fetch(`${url}/api/jobs/query`, {
      method: "OPTIONS",
      headers: {
        origin: "https://app.example.com",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type, authorization",
      },
    });
    expect(preflight.status).to.equal(204);
    expect(preflight.headers.get("access-control-allow-headers")).to.equal("content-type, authorization");
  });

  it("sends careful headers, and none that a page on plain HTTP would suffer from", async () => {
    const { headers } = await fetch(`${url}/api/jobs`);
    expect(headers.get("content-type")).to.match(/^application\/json/);
    expect(headers.get("cache-control")).to.equal("no-store");
    expect(headers.get("x-content-type-options")).to.equal("nosniff");
    expect(headers.get("content-security-policy")).to.equal("default-src 'none'; frame-ancestors 'none'");
    expect(headers.get("strict-transport-security")).to.equal(null);
    expect(headers.get("x-powered-by")).to.equal(null);
    gateway.gateway.router.get("/page", (context) => {
      context.type = "html";
      context.body = "<script>1</script>";
    });
    const page = await fetch(`${url}/page`);
    expect(page.headers.get("content-security-policy")).to.equal(null);
  });

  it("maps BSON as the stream does", async () => {
    const { Decimal128 } = BSON;
    const document = {
      _id: "types",
      big: Long.MAX_VALUE,
      decimal: Decimal128.fromString("1.50"),
      at: new Date(0),
      no: null,
    };
    await database.db.collection<Document>("things").insertOne(document as unknown as Document);
    expect(await (await fetch(`${url}/api/things/types`)).json()).to.deep.equal({
      id: "types",
      big: "9223372036854775807",
      decimal: "1.50",
      at: "1970-01-01T00:00:00.000Z",
      no: null,
    });
  });

  it("gives a position that is never newer than the rows", async () => {
    const things = database.db.collection<Document>("things");
    let last = "";
    for (let n = 0; n < 20; n += 1) {
      const { position } = await getPage(url, "things", { limit: "1" });
      expect(position >= last).to.equal(true);
      last = position;
      await things.updateOne({ _id: 7 } as unknown as Document, { $set: { n } });
    }
  });
});

describe("a gateway without anonymous access", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      auth: { anonymous: false },
      interfaces: { jobs: { read: true } },
    });
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("answers everything under /api with 401, whether it is there or not", async () => {
    for (const path of ["/api/jobs", "/api/jobs/a", "/api/nowhere", "/api", "/api/a/b/c/d", "/api/tasks/1"]) {
      const response = await fetch(gateway.url + path);
      expect(response.headers.get("www-authenticate")).to.equal("Bearer");
      expect(await refusalOf(response), path).to.equal("401 unauthorized");
    }
    for (const path of ["/livez", "/readyz", "/version", "/metrics", "/openapi.json"]) {
      expect((await fetch(gateway.url + path)).status, path).to.equal(200);
    }
  });

  it("has nothing but GET where the gateway's state is", async () => {
    for (const path of ["/livez", "/readyz", "/version", "/metrics", "/openapi.json", "/asyncapi.json"]) {
      for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
        const response = await fetch(gateway.url + path, { method });
        expect(response.headers.get("allow"), path).to.equal("GET, HEAD, OPTIONS");
        expect(await refusalOf(response), path).to.equal("405 method-not-allowed");
      }
      expect((await fetch(gateway.url + path, { method: "HEAD" })).status, path).to.equal(200);
      const options = await fetch(gateway.url + path, { method: "OPTIONS" });
      expect([options.status, options.headers.get("allow")], path).to.deep.equal([204, "GET, HEAD, OPTIONS"]);
    }
  });

  it("answers a token that it can't verify with 401 and says so", async () => {
    const headers: Record<string, string>[] = [
      { authorization: "Bearer abc.def.ghi" },
      { authorization: "Basic dTpw" },
      { authorization: "Bearer" },
      { cookie: "x=1; tailgate_token=abc" },
    ];
    for (const each of headers) {
      const response = await fetch(`${gateway.url}/api/jobs`, { headers: each });
      expect(response.headers.get("www-authenticate")).to.equal('Bearer error="invalid_token"');
      expect(await refusalOf(response), JSON.stringify(each)).to.equal("401 bad-token");
    }
  });
});
