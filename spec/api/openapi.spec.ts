import { readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect } from "chai";
import { z } from "zod";
import { defineTask } from "../../src/tasks/define.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

type Operations = Record<string, Record<string, { responses: Record<string, unknown>; parameters?: unknown[] }>>;

interface Description {
  openapi: string;
  paths: Operations;
  components: { schemas: Record<string, object> };
}

describe("the description of the API", () => {
  let database: SpecDatabase;
  let gateway: TestGateway;
  let description: Description;

  before(async () => {
    database = await freshDatabase();
    gateway = await startTestGateway({
      mongo: database.uri,
      interfaces: { jobs: { read: true }, hidden: {} },
      tasks: [
        defineTask({ name: "copy", input: z.object({}), where: "main", allow: () => true, run: async () => undefined }),
      ],
    });
    description = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as Description;
  });
  after(async () => {
    await gateway.stop();
    await database.dispose();
  });

  it("has every route of the gateway", () => {
    expect(description.openapi).to.equal("3.1.0");
    const found = Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    expect(found.sort()).to.deep.equal(
      [
        "get /livez",
        "get /readyz",
        "get /version",
        "get /metrics",
        "get /openapi.json",
        "get /asyncapi.json",
        "post /api/tasks",
        "get /api/tasks",
        "post /api/tasks/query",
        "get /api/tasks/{id}",
        "delete /api/tasks/{id}",
        "get /api/{interface}",
        "post /api/{interface}/query",
        "get /api/{interface}/{id}",
        "post /api/{interface}",
        "patch /api/{interface}/{id}",
        "delete /api/{interface}/{id}",
      ].sort(),
    );
  });

  it("names no interface, for some are hidden", () => {
    expect(JSON.stringify(description)).not.to.match(/hidden|"jobs"/);
  });

  it("describes each of its routes as it answers", async () => {
    for (const [path, methods] of Object.entries(description.paths)) {
      if (methods.get === undefined) continue;
      const url = gateway.url + path.replace("{interface}", "jobs").replace("{id}", "none");
      const response = await fetch(url);
      const { status } = response;
      const { responses } = methods.get;
      const answer = (responses[status] ?? responses.default) as { content: Record<string, { schema: object }> };
      const type = response.headers.get("content-type")?.split(";")[0] ?? "";
      expect(Object.keys(answer.content), `${path} ${status}`).to.deep.equal([type]);
      if (!type.includes("json")) continue;
      const schema = answer.content[type]?.schema ?? {};
      const resolved = "$ref" in schema ? description.components.schemas.Problem : schema;
      const checked = z
        .fromJSONSchema(resolved as Parameters<typeof z.fromJSONSchema>[0])
        .safeParse(await response.json());
      expect(checked.error?.issues, path).to.equal(undefined);
    }
  });

  it("describes the list of tasks, as it is answered to both ways of asking", async () => {
    const send = (path: string, body: object) =>
      fetch(`${gateway.url}/api/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    expect((await send("tasks", { name: "copy", input: {} })).status).to.equal(202);
    const { get } = description.paths["/api/tasks"] ?? {};
    const { post } = description.paths["/api/tasks/query"] ?? {};
    const names = get?.parameters?.map((each) => (each as { name: string }).name);
    expect(names).to.deep.equal(["filter", "sort", "fields", "limit", "cursor", "format"]);
    for (const [operation, response] of [
      [get, await fetch(`${gateway.url}/api/tasks`)],
      [get, await fetch(`${gateway.url}/api/tasks?fields=state&limit=1`)],
      [post, await send("tasks/query", { fields: ["name"] })],
    ] as const) {
      expect(response.status).to.equal(200);
      const answer = operation?.responses[200] as { content: Record<string, { schema: object }> } | undefined;
      const described = answer?.content["application/json"]?.schema;
      const schema = z.fromJSONSchema(described as Parameters<typeof z.fromJSONSchema>[0]);
      const page = (await response.json()) as { data: object[] };
      expect(page.data).to.have.length(1);
      expect(schema.safeParse(page).error?.issues, response.url).to.equal(undefined);
      // It says more of the rows than that they have an id.
      expect(schema.safeParse({ ...page, data: [{ id: "a", state: "asleep" }] }).success).to.equal(false);
    }
  });

  it("says of writes what they take and what they are answered with", () => {
    const { patch, delete: remove } = description.paths["/api/{interface}/{id}"] ?? {};
    const post = description.paths["/api/{interface}"]?.post;
    const codes = (operation: { responses: object } | undefined) => Object.keys(operation?.responses ?? {});
    expect(codes(post)).to.deep.equal(["201", "403", "409", "422", "default"]);
    expect(codes(patch)).to.deep.equal(["200", "403", "404", "409", "412", "422", "default"]);
    expect(codes(remove)).to.deep.equal(["204", "404", "412", "default"]);
    expect(JSON.stringify(post?.responses[201])).to.match(/Location.*Tailgate-Position.*ETag/);
    expect(JSON.stringify(remove)).to.match(/If-Match.*Tailgate-Position/);
    const { content } = (patch as { requestBody?: { content: object } } | undefined)?.requestBody ?? { content: {} };
    expect(Object.keys(content)).to.deep.equal(["application/json", "application/merge-patch+json"]);
  });

  it("says of the parameters what validation says", () => {
    const parameters = description.paths["/api/{interface}"]?.get?.parameters as { name: string; schema: object }[];
    const byName = Object.fromEntries(parameters.map(({ name, schema }) => [name, schema]));
    expect(Object.keys(byName)).to.deep.equal(["interface", "filter", "sort", "fields", "limit", "cursor", "format"]);
    expect(byName.limit).to.include({ type: "integer", minimum: 1, maximum: 1000, default: 50 });
  });
});

describe("the codes of problems", () => {
  it("are all named in docs/api.md", () => {
    const source = new URL("../../src/", import.meta.url);
    const ofTheApplication = ["bad-data", "bad-operation", "client-gone"];
    const ofTheWebsocket = ["bad-message", "unknown-subscription", "duplicate-id", "too-many-subscriptions"];
    const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
    const codes = files.flatMap((name) => {
      const text = readFileSync(new URL(name, source), "utf8");
      const raised = [...text.matchAll(/(?:RequestError|refusal)\(\s*\d{3},\s*"([a-z-]+)"/g)];
      const own = name.endsWith("front-problems.ts") ? [...text.matchAll(/code: "([a-z-]+)"/g)] : [];
      const early = name.endsWith("http-server.ts") ? [...text.matchAll(/\d{3},\s*"([a-z-]+)"/g)] : [];
      return [...raised, ...own, ...early].map((match) => match[1] ?? "");
    });
    expect(codes.length).to.be.greaterThan(50);
    const documented = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8");
    const missing = [...new Set(codes)].filter((code) => !documented.includes(`\`${code}\``));
    expect(missing.sort()).to.deep.equal([...ofTheApplication, ...ofTheWebsocket].sort());
  });
});

describe("the metrics", () => {
  it("are all named in docs/api.md, and all that it names are there", async () => {
    const database = await freshDatabase();
    const gateway = await startTestGateway({ mongo: database.uri, interfaces: { jobs: { read: true } } });
    try {
      const text = await (await fetch(`${gateway.url}/metrics`)).text();
      const documented = await readFile(new URL("../../docs/api.md", import.meta.url), "utf8");
      const names = (of: string, pattern: RegExp) =>
        [...new Set([...of.matchAll(pattern)].map((match) => match[1]))].sort();
      expect(names(text, /^# TYPE (tailgate_\w+)/gm)).to.deep.equal(names(documented, /^\| `(tailgate_\w+)`/gm));
      expect(text).to.match(/^process_cpu_seconds_total /m);
    } finally {
      await gateway.stop();
      await database.dispose();
    }
  });
});
