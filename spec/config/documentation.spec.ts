import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { parse } from "yaml";
import { defaults } from "../../src/config/defaults.js";
import { loadSettings } from "../../src/config/load.js";
import { knownKeys, optionsSchema } from "../../src/config/schema.js";

const text = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
const examples = [...text.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? "");

/** Keys of which a file can hold no value, because they are functions. */
const codeOnly = ["interfaces.NAME.representation", "auth.sessions", "tasks.definitions"];

describe("docs/configuration.md", () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "tailgate-config-"));
  });

  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it("has a five-line example, a dashboard and one with everything, all of which load", async () => {
    expect(examples).to.have.length(3);
    expect(examples[0]?.trim().split("\n")).to.have.length(5);
    for (const example of examples) {
      writeFileSync(join(directory, "tailgate.config.yaml"), example);
      const settings = await loadSettings({ environment: {}, workingDirectory: directory });
      expect(settings.interfaces.size).to.be.greaterThan(0);
    }
  });

  it("has a module example that loads", async () => {
    const module = /```js\n(.*?)```/s.exec(text)?.[1] ?? "";
    const secret = "s".repeat(32);
    writeFileSync(
      join(directory, "config.mjs"),
      module.replace("process.env.JOBS_TOKEN_SECRET", JSON.stringify(secret)),
    );
    const settings = await loadSettings({
      flags: { config: "config.mjs" },
      environment: {},
      workingDirectory: directory,
    });
    expect(settings.auth.jwt?.secret).to.equal(secret);
  });

  it("explains every key and no other", () => {
    const explained = [...text.matchAll(/^\| `([a-zA-Z.]+)` \|/gm)].map((match) => match[1]);
    expect(explained.filter((key) => /[a-z]/.test(key ?? "")).sort()).to.deep.equal(leaves([]).sort());
  });

  it("uses every key in its full example that a file can hold", () => {
    const example: unknown = parse(examples[2] ?? "");
    for (const key of leaves([]).filter((key) => !codeOnly.includes(key))) {
      expect(valueAt(example, key), key).to.not.equal(undefined);
    }
  });

  it("gives the defaults that the gateway has, in its tables and in its full example", () => {
    const example: unknown = parse(examples[2] ?? "");
    const { configurationFile, ...groups } = defaults;
    expect(text).to.contain(`\`${configurationFile}\``);
    const own = ["http.userAgent", "executors.processes"];
    for (const key of leaves([]).filter((key) => !own.includes(key))) {
      const value = valueAt(groups, key);
      if (value === undefined) continue;
      expect(text, key).to.contain(`| \`${key}\` | \`${String(value)}\` |`);
      expect(valueAt(example, key), key).to.equal(value);
    }
  });
});

function leaves(path: readonly string[]): string[] {
  const keys = path.join(".") === "interfaces" ? ["NAME"] : knownKeys(optionsSchema, path);
  return keys.length === 0 ? [path.join(".")] : keys.flatMap((key) => leaves([...path, key]));
}

function valueAt(value: unknown, key: string): unknown {
  return key.split(".").reduce<unknown>((inner, step) => {
    if (typeof inner !== "object" || inner === null) return undefined;
    return step === "NAME" ? Object.values(inner)[0] : (inner as Record<string, unknown>)[step];
  }, value);
}
