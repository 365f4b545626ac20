import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { ExecutorKind } from "./worker-errors.js";

// In development this file and the worker script are TypeScript, after the build both are JavaScript.
const workerUrl = new URL(`./worker${extname(import.meta.url)}`, import.meta.url);

/** What a worker runs: a path, or where `eval` is set the text of a script. */
export function workerScript(kind: ExecutorKind): { source: string; eval: boolean } {
  const loader = kind === "thread" ? typescriptLoader() : undefined;
  if (loader === undefined) return { source: fileURLToPath(workerUrl), eval: false };
  const [tsx, worker] = [JSON.stringify(loader), JSON.stringify(workerUrl.href)];
  return { source: `import(${tsx}).then((tsx) => { tsx.register(); return import(${worker}); });`, eval: true };
}

/**
 * Node's own flags for a worker process: those of this process, so that loaders come along, without those that concern
 * only this process. (A thread inherits what it can by itself.)
 */
export function workerFlags(): string[] {
  return process.execArgv.filter(
    (flag, index, all) => !ownFlag.test(flag) && !/^(-e|--eval|-p|--print|-pe)$/.test(all[index - 1] ?? ""),
  );
}

const ownFlag = /^(-e|--eval|-p|--print|-pe|-i|--interactive|--(inspect|input-type|test|watch)(-\S+)?(=.*)?)$/;

/**
 * Processes inherit tsx with the command line. Threads do not on Node 20, whose loaders work per thread
 * (https://github.com/privatenumber/tsx/issues/354): there it has to be registered first.
 *
 * @returns the URL of tsx's interface where this process runs under tsx
 */
function typescriptLoader(): string | undefined {
  const flags = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? "").split(/\s+/)];
  for (const [index, flag] of flags.entries()) {
    const specifier = flag === "--import" ? flags[index + 1] : /^--import=(.+)$/.exec(flag)?.[1];
    if (specifier === undefined || !/(^|[\\/])tsx([\\/]|$)/.test(specifier)) continue;
    const from = specifier.startsWith("file:") ? specifier : join(process.cwd(), "package.json");
    // Only its ES module registers; require() names the CommonJS one beside it.
    const api = createRequire(from)
      .resolve("tsx/esm/api")
      .replace(/\.cjs$/, ".mjs");
    return pathToFileURL(api).href;
  }
  return undefined;
}
