import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type Finding, messageOf } from "./finding.js";

const require = createRequire(import.meta.url);

/** The Node.js that runs, or, in a spec, another one. */
export interface Runtime {
  readonly version: string;
  readonly platform: string;
  readonly arch: string;
  /** The number of the interface that native modules are built for: `process.versions.modules`. */
  readonly abi: string;
  /** Undefined where the system's C library is another, such as Alpine's musl. */
  readonly glibc: string | undefined;
}

export function thisRuntime(): Runtime {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return {
    version: process.versions.node,
    platform: process.platform,
    arch: process.arch,
    abi: process.versions.modules,
    glibc: header.glibcVersionRuntime,
  };
}

/** Whether Node.js is one that the gateway and the packages it needs run on. */
export function nodeFindings(runtime: Runtime, least = leastVersion()): Finding[] {
  const what = `Node.js ${runtime.version} on ${runtime.platform} ${runtime.arch}`;
  if (isAtLeast(runtime.version, least)) return [{ area: "node", level: "ok", what }];
  return [
    {
      area: "node",
      level: "problem",
      what: `${what}, which is older than ${least}`,
      consequence: "packages that the gateway needs fail to load, or fail later",
      fix: "install Node.js 20, at its newest, from https://nodejs.org or with your version manager: nvm install 20",
    },
  ];
}

/** Whether the uWebSockets binary for this Node.js, platform and C library is there and loads. */
export function binaryFindings(runtime: Runtime, folder = packageFolder()): Finding[] {
  if (folder === undefined || !existsSync(folder)) {
    return [
      {
        area: "uwebsockets",
        level: "problem",
        what: "the package uWebSockets.js is not installed",
        consequence: "the gateway can't start",
        fix: "npm ci",
      },
    ];
  }
  const name = `uws_${runtime.platform}_${runtime.arch}_${runtime.abi}.node`;
  const file = join(folder, name);
  const origin = `${describePackage(folder)} at ${folder}`;
  if (!existsSync(file)) return [missingBinary(name, origin, folder, runtime)];
  try {
    // Which also tells a binary for another C library, or half of a file, from one that works.
    const { App } = require(file) as { App?: unknown };
    if (typeof App !== "function") throw new Error("it has no App");
    const library = runtime.platform !== "linux" || runtime.glibc === undefined ? "" : `, with glibc ${runtime.glibc}`;
    return [{ area: "uwebsockets", level: "ok", what: `${name} of ${origin} loads${library}` }];
  } catch (error) {
    return [unloadableBinary(name, origin, messageOf(error), runtime)];
  }
}

function missingBinary(name: string, origin: string, folder: string, runtime: Runtime): Finding {
  const prefix = `uws_${runtime.platform}_${runtime.arch}_`;
  const abis = readdirSync(folder).flatMap((entry) =>
    entry.startsWith(prefix) ? [entry.slice(prefix.length).replace(".node", "")] : [],
  );
  const isOther = abis.length > 0;
  return {
    area: "uwebsockets",
    level: "problem",
    what: isOther
      ? `${origin} has no binary for this Node.js: ${name} is not there`
      : `${origin} has no binary for ${runtime.platform} on ${runtime.arch}`,
    consequence: "the gateway can't start",
    fix: isOther
      ? `use a Node.js that it has a binary for, such as 20 (here are those of the module versions ${abis.join(", ")}; this one is ${runtime.abi})`
      : "run the gateway on Linux with glibc, macOS or Windows, on x64 or arm64",
  };
}

function unloadableBinary(name: string, origin: string, reason: string, runtime: Runtime): Finding {
  const wanted = /GLIBC(?:XX)?_[\d.]+/.exec(reason)?.[0];
  const isMusl = runtime.platform === "linux" && runtime.glibc === undefined;
  const fix = isMusl
    ? "use an image or a system with glibc, such as node:20-bookworm-slim: there is no binary for musl (Alpine)"
    : wanted === undefined
      ? "npm ci, for the file may be damaged; then Node.js 20, whose binary asks least of the system"
      : `use Node.js 20, whose binary needs only glibc 2.27, or a system that has ${wanted}`;
  return {
    area: "uwebsockets",
    level: "problem",
    what: `${name} of ${origin} does not load: ${reason.split("\n")[0]}`,
    consequence: "the gateway can't start",
    fix,
  };
}

function packageFolder(): string | undefined {
  try {
    return dirname(require.resolve("uWebSockets.js/package.json"));
  } catch {
    // Not installed, which is what the caller reports.
    return undefined;
  }
}

/** The name tells the author's own package from a mirror of it. */
function describePackage(folder: string): string {
  try {
    const { name, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<string, string>;
    return `${name} ${version}`;
  } catch {
    // Without a readable package.json the folder says enough.
    return "the package";
  }
}

function leastVersion(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { engines: { node: string } }).engines.node.replace(/^>=/, "");
}

function isAtLeast(version: string, least: string): boolean {
  const [left, right] = [version, least].map((text) => text.split(".").map((part) => Number.parseInt(part, 10)));
  for (const [index, part] of (right ?? []).entries()) {
    const difference = (left?.[index] ?? 0) - part;
    if (difference !== 0) return difference > 0;
  }
  return true;
}
