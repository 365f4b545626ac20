import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";

const root = fileURLToPath(new URL("..", import.meta.url));
const source = join(root, "src");

/**
 * Which part of `src` may import which: a part may import those in its list and no others. What is small and knows nothing
 * of the rest may be imported by all. A file of `src` itself is a part of its own; a folder is one part.
 */
const small = ["errors", "log", "message", "metrics", "position", "retry", "service", "turns", "version"];
const allowed: Record<string, readonly string[]> = {
  message: [],
  position: [],
  version: [],
  errors: [],
  retry: [],
  turns: [],
  log: [],
  metrics: [],
  service: ["log", "retry"],
  config: [...small, "filter"],
  filter: [...small],
  database: [...small],
  "http-client": [...small, "config"],
  executors: [...small],
  watcher: [...small, "database"],
  dispatcher: [...small, "auth", "config", "database", "filter", "watcher"],
  sockets: [...small, "auth", "config", "dispatcher", "filter"],
  auth: [...small, "config", "filter", "http-client"],
  tasks: [...small, "config", "database", "dispatcher", "executors", "http-client", "watcher"],
  api: [...small, "auth", "config", "database", "dispatcher", "filter", "tasks"],
  doctor: [...small, "config", "database", "http-client", "sockets", "tasks", "watcher"],
  client: ["message"],
  gateway: ["*"],
  index: ["*"],
  cli: ["*"],
};

interface Import {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const files = readdirSync(source, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const partOf = (path: string): string =>
  path
    .replaceAll("\\", "/")
    .split("/")[0]
    ?.replace(/\.[tj]s$/, "") ?? path;

function specifiersOf(file: string): string[] {
  const text = readFileSync(join(source, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map((match) => match[1] as string);
}

const imports: Import[] = files.flatMap((file) =>
  specifiersOf(file)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => ({
      file,
      from: partOf(file),
      to: partOf(relative(source, join(source, dirname(file), specifier))),
    })),
);

describe("the imports", () => {
  it("are found at all", () => {
    expect(imports.length).to.be.greaterThan(100);
  });

  it("follow the arrows of the architecture", () => {
    const wrong = imports.filter(({ from, to }) => {
      if (from === to) return false;
      const list = allowed[from];
      return list === undefined || !(list.includes("*") || list.includes(to));
    });
    expect(wrong.map(({ file, to }) => `${file} imports ${to}`)).to.deep.equal([]);
  });

  it("make no HTTP client but the shared one", () => {
    const clients = ["ky", "undici", "axios", "got", "node-fetch"];
    const makers = files.filter((file) => specifiersOf(file).some((specifier) => clients.includes(specifier)));
    expect(makers).to.deep.equal(["http-client.ts"]);
    const fetchers = files.filter((file) => /(?<![.\w])fetch\(/.test(readFileSync(join(source, file), "utf8")));
    expect(fetchers).to.deep.equal(["http-client.ts"]);
    const creators = files.filter((file) =>
      /ky\.create\(|createHttpClient\(/.test(readFileSync(join(source, file), "utf8")),
    );
    // One a process: the gateway's, and that of the process that `tailgate doctor` is.
    expect(creators.sort()).to.deep.equal([join("doctor", "port.ts"), "gateway.ts", "http-client.ts"]);
  });

  it("reach uWebSockets.js through one module only", () => {
    const users = files.filter((file) =>
      /import \{[^}]*\} from "uWebSockets\.js"/.test(readFileSync(join(source, file), "utf8")),
    );
    expect(users.filter((file) => file !== join("sockets", "uws.ts"))).to.deep.equal([]);
  });

  it("of the data path know no wall clock, which may step (hazard 16)", () => {
    const path = files.filter((file) => /^(watcher|dispatcher|sockets|retry|service)/.test(file));
    expect(path.length).to.be.greaterThan(10);
    expect(
      path.filter((file) => /Date\.now\(|new Date\(\)/.test(readFileSync(join(source, file), "utf8"))),
    ).to.deep.equal([]);
  });

  it("of the example application are of the public package only", () => {
    const example = join(root, "examples/lab");
    const wrong = readdirSync(example, { encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) => {
        const text = readFileSync(join(example, file), "utf8");
        return [...text.matchAll(/from\s+["']([^"']*\/src\/[^"']*)["']/g)].map(
          (match) => `${file} imports ${match[1]}`,
        );
      });
    expect(wrong).to.deep.equal([]);
  });
});
