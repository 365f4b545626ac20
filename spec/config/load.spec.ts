import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { fallbackUri } from "../../replica-set/default-uri.mjs";
import { defaults } from "../../src/config/defaults.js";
import { describeSettings } from "../../src/config/describe.js";
import { type Environment, type Flags, loadSettings, settingsOf } from "../../src/config/load.js";
import type { Options, RuleFunction, Settings } from "../../src/config/settings.js";
import { ConfigurationError, exitCodeOf } from "../../src/errors.js";

describe("the configuration", () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "tailgate-config-"));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  function load(content?: string, environment: Environment = {}, flags: Flags = {}, name = "tailgate.config.yaml") {
    if (content !== undefined) writeFileSync(join(directory, name), content);
    return loadSettings({ flags, environment, workingDirectory: directory });
  }

  async function refusal(work: () => Promise<Settings> | Settings): Promise<string> {
    try {
      await work();
    } catch (error) {
      expect(error).to.be.instanceOf(ConfigurationError);
      expect(exitCodeOf(error)).to.equal(78);
      expect((error as ConfigurationError).code).to.equal("bad-configuration");
      return (error as Error).message;
    }
    throw new Error("the configuration was accepted");
  }

  describe("where it comes from", () => {
    it("is the defaults where nothing is said", async () => {
      const settings = await load();
      expect(settings).to.deep.include({
        host: "127.0.0.1",
        port: 8080,
        logLevel: "info",
        allowedOrigins: [],
        history: { events: 100_000, megabytes: 64, replayLimit: 100_000 },
        tasks: { concurrency: 2, queue: 1000, timeoutSeconds: 300 },
        auth: { anonymous: false, closeCode: 4401, queryToken: false },
      });
      expect(settings.limits).to.deep.equal({
        payloadKilobytes: 16,
        subscriptionsPerConnection: 128,
        connectionsPerUser: 20,
        messagesPerMinute: 600,
        bufferedMegabytes: 1,
        idleSeconds: 60,
      });
      expect(settings.interfaces.size).to.equal(0);
      expect(settings.file).to.equal(undefined);
    });

    it("takes a flag over the environment over the file over the default", async () => {
      const file = "host: 10.0.0.1\nport: 1001\nlogLevel: debug\nmongo: mongodb://file/shop\n";
      const environment = { HOST: "10.0.0.2", PORT: "1002", MONGODB_URI: "mongodb://environment/shop" };
      const settings = await load(file, environment, { host: "10.0.0.3" });
      expect(settings).to.include({
        host: "10.0.0.3",
        port: 1002,
        logLevel: "debug",
        mongodbUri: "mongodb://environment/shop",
      });
      expect(await load(file)).to.include({ host: "10.0.0.1", port: 1001, mongodbUri: "mongodb://file/shop" });
      const all = { mongo: "mongodb://flag/shop", port: "0", logLevel: "trace" };
      expect(await load(file, environment, all)).to.include({
        mongodbUri: "mongodb://flag/shop",
        port: 0,
        logLevel: "trace",
      });
    });

    it("counts an empty variable as unset", async () => {
      expect(await load("port: 1001", { PORT: "", TAILGATE_CONFIG: "" })).to.include({ port: 1001 });
    });

    it("takes the file of --config over that of TAILGATE_CONFIG over tailgate.config.yaml", async () => {
      await load("port: 1001");
      writeFileSync(join(directory, "two.yml"), "port: 1002");
      writeFileSync(join(directory, "three.json"), '\uFEFF{"port": 1003}');
      expect(await load(undefined, { TAILGATE_CONFIG: "two.yml" })).to.include({ port: 1002 });
      const settings = await load(undefined, { TAILGATE_CONFIG: "two.yml" }, { config: "three.json" });
      expect(settings).to.include({ port: 1003, file: join(directory, "three.json") });
    });

    it("takes a module, with functions for rules and representations, in JavaScript and TypeScript", async () => {
      const body = "{ interfaces: { jobs: { read: (user) => user !== null, representation: ({ a }) => ({ a }) } } }";
      for (const name of ["config.mjs", "config.mts"]) {
        const type = name.endsWith(".mts") ? ": any" : "";
        const content = `export default ${body.replace("(user)", `(user${type})`).replace("({ a })", `({ a }${type})`)}`;
        const settings = await load(content, { TAILGATE_CONFIG: name }, {}, name);
        const jobs = settings.interfaces.get("jobs");
        expect((jobs!.read as RuleFunction)(null)).to.equal(false);
        expect(jobs?.representation?.({ a: 1, b: 2 })).to.deep.equal({ a: 1 });
      }
    });

    it("lets the code's options hold over the environment, which fills in what they leave out", () => {
      const environment = { PORT: "1002", HOST: "10.0.0.2", TAILGATE_CONFIG: "not-there.yaml" };
      const settings = settingsOf({ port: 0, host: undefined } as Options, environment, directory);
      expect(settings).to.include({ port: 0, host: "10.0.0.2" });
    });

    it("takes the database that `make replica` noted, with a name where its note has none", async () => {
      expect((await load()).mongodbUri).to.equal(fallbackUri);
      mkdirSync(join(directory, ".replica"));
      const note = (text: string) => writeFileSync(join(directory, ".replica", "state.json"), text);
      note('{"uri": "mongodb://127.0.0.1:5000/?replicaSet=secantus"}');
      expect((await load()).mongodbUri).to.equal("mongodb://127.0.0.1:5000/tailgate?replicaSet=secantus");
      note("{half");
      expect((await load()).mongodbUri).to.equal(fallbackUri);
      mkdirSync(join(directory, "elsewhere"));
      writeFileSync(join(directory, "elsewhere", "state.json"), '{"uri": "mongodb://127.0.0.1:5001/lab"}');
      const environment = { REPLICA_DIR: "elsewhere" };
      expect((await load(undefined, environment)).mongodbUri).to.equal("mongodb://127.0.0.1:5001/lab");
    });
  });

  describe("what it means", () => {
    it("makes an interface readable by no one, whole, and from the collection of its name unless it says more", () => {
      const { interfaces } = settingsOf({ interfaces: { jobs: {} } }, {});
      expect(interfaces.get("jobs")).to.deep.equal({
        name: "jobs",
        collection: "jobs",
        read: false,
        write: false,
        filterable: [],
      });
    });

    it("drops paths that a prefix or the id's own place in the representation covers", () => {
      const fields = ["user.name.first", "_id", "state", "user", "id", "state", "username"];
      const { interfaces } = settingsOf({ interfaces: { jobs: { fields, filterable: ["a.b.c", "a.b"] } } }, {});
      expect(interfaces.get("jobs")?.fields).to.deep.equal(["state", "user", "username"]);
      expect(interfaces.get("jobs")?.filterable).to.deep.equal(["a.b"]);
      expect(settingsOf({ interfaces: { jobs: { fields: [] } } }, {}).interfaces.get("jobs")?.fields).to.deep.equal([]);
    });

    it("accepts tasks as a list and as limits with definitions", () => {
      const copy = { name: "copy" };
      const short = settingsOf({ tasks: [copy] }, {});
      expect(short.taskDefinitions).to.deep.equal([copy]);
      expect(short.tasks).to.deep.equal(defaults.tasks);
      const long = settingsOf({ tasks: { concurrency: 7, definitions: [copy] } }, {});
      expect(long.taskDefinitions[0]).to.equal(copy);
      expect(long.tasks).to.deep.equal({ ...defaults.tasks, concurrency: 7 });
    });

    it("accepts the algorithms that the configured keys can check", () => {
      const secret = "s".repeat(32);
      const jwksUrl = "https://id.example.com/keys";
      const algorithms = (jwt: object) => settingsOf({ auth: { jwt } }, {}).auth.jwt?.algorithms;
      expect(algorithms({ secret })).to.deep.equal(["HS256"]);
      expect(algorithms({ jwksUrl })).to.not.include("HS256");
      expect(algorithms({ secret, jwksUrl })).to.include.members(["HS256", "RS256"]);
      expect(algorithms({ jwksUrl, algorithms: ["ES256"] })).to.deep.equal(["ES256"]);
    });
  });

  describe("what is wrong with it", () => {
    it("lists every problem at once, each with its place and what would be right", async () => {
      const message = await refusal(() =>
        load("interfaces:\n  jobs:\n    feilds: [a]\nport: eighty\nlimits: { events: 3 }\n", { LOG_LEVEL: "warning" }),
      );
      expect(message).to.contain("for 4 reasons");
      expect(message).to.contain(
        "tailgate.config.yaml:3:5: interfaces.jobs.feilds: unknown key; did you mean `fields`?",
      );
      expect(message).to.contain(
        'tailgate.config.yaml:4:1: port: must be a whole number from 0 to 65535, not "eighty"',
      );
      expect(message).to.contain("limits.events: unknown key here; it belongs under `history`");
      expect(message).to.contain("the environment: LOG_LEVEL: must be one of fatal, error, warn");
      expect(message).to.contain('not "warning"; did you mean warn?');
    });

    it("suggests a key for misspelt ones, and none where nothing is near", async () => {
      const meant = { hots: "host", allowed_origins: "allowedOrigins", mongodbUri: "mongo", limit: "limits" };
      for (const [key, right] of Object.entries(meant)) {
        expect(await refusal(() => load(`${key}: 1`))).to.contain(`${key}: unknown key; did you mean \`${right}\`?`);
      }
      expect(await refusal(() => load("zzzzz: 1"))).to.contain("known here are mongo, host");
    });

    it("names the line and column of what is no YAML or JSON", async () => {
      expect(await refusal(() => load("a: 1\nb: [2\n"))).to.match(/tailgate\.config\.yaml:3:1: invalid YAML/);
      expect(await refusal(() => load("port: 1\nport: 2\n"))).to.match(
        /yaml:2:1: invalid YAML: the same key is there twice/,
      );
      expect(await refusal(() => load("port: *other\n"))).to.contain("invalid YAML: an alias without its anchor");
      expect(await refusal(() => load("port: !secret x\n"))).to.match(/yaml:1:7: invalid YAML/);
      const documents = await refusal(() => load("port: 1\n---\nport: 2\n"));
      expect(documents).to.match(/yaml:2:1: invalid YAML: a second document begins here/);
      const json = (text: string) => refusal(() => load(text, { TAILGATE_CONFIG: "a.json" }, {}, "a.json"));
      expect(await json('{\n  "port": 1,\n}')).to.match(/a\.json:3:1: invalid JSON/);
      expect(await json('{"port": 1,\n "port": 2}')).to.contain("a.json:2:2: the same key is there twice");
    });

    it("says that a file is missing, a directory, of an unknown kind, or a module without a default export", async () => {
      const named = (name: string) => refusal(() => load(undefined, {}, { config: name }));
      expect(await named("absent.yaml")).to.contain("absent.yaml: there is no such file");
      expect(await named("settings.toml")).to.contain("settings.toml: a configuration file ends in .yaml");
      mkdirSync(join(directory, "folder.yaml"));
      expect(await named("folder.yaml")).to.contain("folder.yaml: this is a directory");
      writeFileSync(join(directory, "a.mjs"), "export const settings = {};");
      expect(await named("a.mjs")).to.contain("a.mjs: the module has no default export");
      writeFileSync(join(directory, "b.mjs"), "throw new Error('no vault');");
      expect(await named("b.mjs")).to.contain("b.mjs: the module failed to load: no vault");
    });

    const wrong: readonly [what: string, yaml: string, says: string][] = [
      ["a port over 65535", "port: 70000", "port: must be a whole number from 0 to 65535, not 70000"],
      ["any free port for the API", "api: { port: 0 }", "api.port: must be a whole number from 1 to 65535, not 0"],
      [
        "a limit with a unit",
        "limits: { payloadKilobytes: 16kb }",
        'must be a number above 0, 16384 at most, not "16kb"',
      ],
      ["a missing value", "limits: { payloadKilobytes: }", "not null (is a value missing after the colon?)"],
      ["a host with a scheme", "host: http://localhost", "host: must be a host name or an IP address alone"],
      ["a URI without a database", "mongo: mongodb://h:1/?w=1", "mongo: must name the database in its path"],
      ["a URI of another kind", "mongo: postgres://h/db", "must be a mongodb:// or mongodb+srv:// URI"],
      ["a URI option that is none", "mongo: mongodb://h/db?foo=1", "option foo is not supported"],
      ["an unescaped password", "mongo: mongodb://u:p@ss@h/db", "must be percent-encoded"],
      ["the interface name tasks", "interfaces: { tasks: {} }", 'the name "tasks" is taken'],
      ["a bad interface name", "interfaces: { 1st: {} }", "interfaces.1st: a name begins with a letter"],
      ["an interface named __proto__", "interfaces: { __proto__: {} }", "interfaces.__proto__: a name begins"],
      ["an empty interface", "interfaces: { jobs: }", "interfaces.jobs: must be a group of keys, not null"],
      ["a system collection", "interfaces: { a: { collection: system.users } }", "the server's own"],
      ["a collection with $", "interfaces: { a: { collection: a$b } }", "can't contain $"],
      ["an empty collection", "interfaces: { a: { collection: '' } }", "can't be empty"],
      ["an empty path segment", "interfaces: { a: { fields: [x, a..b] } }", "interfaces.a.fields[1]: a path is names"],
      ["an operator as path", "interfaces: { a: { filterable: [$where] } }", "no part of it begins with $"],
      ["a path into a prototype", "interfaces: { a: { fields: [a.__proto__.b] } }", 'go through "__proto__"'],
      ["a rule that is a word", "interfaces: { a: { read: everyone } }", "must be true, false or a filter"],
      ["an operator that runs code", "interfaces: { a: { read: { $where: x } } }", "$where"],
      ["a claim as pattern", "interfaces: { a: { read: { b: { $regex: $user.x } } } }", "not stand under $regex"],
      ["a claim as type", "interfaces: { a: { read: { b: { $type: $user.x } } } }", "not stand under $type"],
      ["a claim as path", 'interfaces: { a: { read: { "$user.sub": 1 } } }', "a claim is a value, not a path"],
      ["a misspelt claim", "interfaces: { a: { read: { b: $usr.sub } } }", '"$usr.sub" looks like a reference'],
      ["a claim of a prototype", "interfaces: { a: { read: { b: $user.__proto__ } } }", "names no claim"],
      ["a polluting key in a rule", "interfaces: { a: { read: { x: { __proto__: 1 } } } }", "can't go through"],
      ["a list under $in of no list", "interfaces: { a: { read: { b: { $in: 3 } } } }", "$in takes a list"],
      [
        "writing into tasks",
        "interfaces: { a: { collection: tasks, write: true } }",
        "starts a task, past its `allow`",
      ],
      ["a function in a file", "interfaces: { a: { representation: x } }", "can only come from a module"],
      ["tasks in a file", "tasks: [{ name: copy }]", "tasks: tasks are functions"],
      ["a jwt without keys", "auth: { jwt: { issuer: x } }", "auth.jwt: must have a `secret` or a `jwksUrl`"],
      ["keys over plain HTTP", "auth: { jwt: { jwksUrl: http://id.example.com/ } }", "must be an https:// URL"],
      [
        "the algorithm none",
        `auth: { jwt: { secret: ${"s".repeat(32)}, algorithms: [none] } }`,
        "must be one of HS256",
      ],
      ["RS256 without keys", `auth: { jwt: { secret: ${"s".repeat(32)}, algorithms: [RS256] } }`, "RS256 needs a"],
      ["a close code of HTTP", "auth: { closeCode: 401 }", "must be a whole number from 4000 to 4999, not 401"],
      ["a close code that is taken", "auth: { closeCode: 4508 }", "or another from 4000 to 4999"],
      ["any origin", 'allowedOrigins: ["*"]', "allowedOrigins[0]: a wildcard would let any page"],
      ["the origin null", 'allowedOrigins: ["null"]', "sandboxed pages"],
      [
        "an origin with a slash",
        "allowedOrigins: [https://a.example/]",
        "without path or final slash: https://a.example",
      ],
      [
        "an origin with a usual port",
        "allowedOrigins: [https://a.example:443]",
        "as browsers send it: https://a.example",
      ],
      ["a list at the top", "- a", "must be a group of keys, not a list"],
    ];
    for (const [what, yaml, says] of wrong) {
      it(`refuses ${what}`, async () => {
        expect(await refusal(() => load(yaml))).to.contain(says);
      });
    }

    it("refuses two tasks of one name", async () => {
      const message = await refusal(() => settingsOf({ tasks: [{ name: "copy" }, { name: "copy" }] }, {}));
      expect(message).to.contain('createGateway(options): tasks[1]: a second task is named "copy"');
    });

    it("refuses `fields` beside `representation`", async () => {
      const jobs = { fields: ["a"], representation: () => ({}) };
      expect(await refusal(() => settingsOf({ interfaces: { jobs } }, {}))).to.contain("not both");
    });

    it("refuses a rule nested so deep that reading it would exhaust the stack", async () => {
      let read: object = { a: 1 };
      for (let level = 0; level < 20_000; level++) read = { $and: [read] };
      expect(await refusal(() => settingsOf({ interfaces: { jobs: { read } } }, {}))).to.contain("levels deep");
    });

    it("leaves prototypes alone (hazard 37)", async () => {
      await refusal(() => load("__proto__: { polluted: 1 }\nlimits: { __proto__: { polluted: 1 } }\n"));
      expect(({} as { polluted?: number }).polluted).to.equal(undefined);
    });
  });

  describe("its secrets (hazard 42)", () => {
    it("are in no error", async () => {
      const canary = "canary-7f3a";
      const yaml = [
        `auth: { jwt: ${canary} }`,
        `auth: ${canary}`,
        `auth: { jwt: { secret: ${canary}`,
        `auth: { jwt: { secret: [${canary}] } }`,
        `auth: { jwt: { secret: x, algorithms: [${canary}] } }`,
        `auth: { jwt: { secret: *${canary} } }`,
        `auth: { jwt: { secret: !${canary} } }`,
        `auth:\n  jwt:\n    secret: |${canary}`,
        `auth:\n  jwt:\n    secret: >${canary}`,
        `auth:\n  jwt:\n    secret: @${canary}`,
        `auth: { jwt: { secret: "\\U${canary}" } }`,
        `auth: { jwt: { secret: "x" ${canary} } }`,
        `%${canary}`,
        `auth: { jwt: { secret:${canary} } }`,
        `mongo: mongodb://u:${canary}@h`,
        `mongo: mongodb://u:${canary}@x@h/db`,
        `mongo: mongodb://u:${canary}@h:port/db`,
        `mongo: mongodb://u:x@h/db?maxPoolSize=${canary}`,
        `mongo: "http://u:${canary}@h/db"`,
        `allowedOrigins: ["https://u:${canary}@h/"]`,
      ];
      for (const text of yaml) {
        expect(await refusal(() => load(text)), text).to.not.contain(canary);
      }
      expect(await refusal(() => load(undefined, { MONGODB_URI: `mongodb://u:${canary}@h` }))).to.not.contain(canary);
      expect(await refusal(() => load(`{"a": ${canary}`, {}, { config: "a.json" }, "a.json"))).to.not.contain(canary);
    });

    it("are in no description, which is plain data and says all the rest", () => {
      const secret = "canary-".repeat(6);
      const settings = settingsOf(
        {
          mongo: "mongodb://canary-user:canary-password@h1,h2/shop?tls=true&tlsCertificateKeyFilePassword=canary",
          interfaces: { jobs: { read: () => true, fields: ["state"] } },
          auth: { jwt: { secret, jwksUrl: "https://id.example.com/keys?key=canary" }, sessions: () => null },
          tasks: [{ name: "copy" }],
        },
        {},
      );
      const described = describeSettings(settings);
      const text = JSON.stringify(described);
      expect(text).to.not.contain("canary");
      expect(described.mongodbUri).to.equal(
        "mongodb://[redacted]@h1,h2/shop?tls=true&tlsCertificateKeyFilePassword=[redacted]",
      );
      expect(JSON.parse(text)).to.deep.include({ taskDefinitions: ["copy"], port: 8080 });
      expect(JSON.parse(text).interfaces.jobs).to.include({ read: "[function]", collection: "jobs" });
    });
  });
});
