import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { startOwnServer } from "../support/server.js";
import { type PlantedBug, plantedBugs } from "./planted-bugs.js";
import { type Outcome, runChecker } from "./run.js";

const project = fileURLToPath(new URL("../..", import.meta.url));
const seed = Number(process.env.TAILGATE_SEED ?? 11);
/** All of them take minutes: what has not begun by then is left to long runs. */
const budgetMilliseconds = process.env.TAILGATE_CHECKER_SECONDS === undefined ? 50_000 : Infinity;
/** Two at a time, for each waits for its gateway to start. */
const together = 2;

describe("the checker finds", () => {
  let began = 0;
  const runs = new Map<PlantedBug, Promise<Outcome>>();

  before(() => {
    began = performance.now();
  });

  /** Starts the run of a bug and of those that come next. */
  function outcomeOf(bug: PlantedBug): Promise<Outcome> {
    const index = plantedBugs.indexOf(bug);
    for (const each of plantedBugs.slice(index, index + together)) {
      if (runs.has(each)) continue;
      const run = runWith(each);
      // Whoever asks for it hears of its failure.
      run.catch(() => undefined);
      runs.set(each, run);
    }
    return runs.get(bug) as Promise<Outcome>;
  }

  for (const bug of plantedBugs) {
    it(`${bug.name} (${bug.finds.join(" or ")})`, async function () {
      if (!runs.has(bug) && performance.now() - began > budgetMilliseconds) this.skip();
      const { findings, counts } = await outcomeOf(bug);
      const found = bug.finds.filter((kind) => findings.kinds.has(kind));
      expect(found, `${JSON.stringify(counts)}\n${findings}`).not.to.deep.equal([]);
    }).timeout(180_000);
  }
});

async function runWith(bug: PlantedBug): Promise<Outcome> {
  const root = await mkdtemp(join(tmpdir(), "tailgate-planted-"));
  try {
    await copyWith(bug, root);
    const server = await startOwnServer();
    try {
      const { scenario, seconds, finds } = bug;
      return await runChecker({ seed, scenario, seconds, server, root, until: finds });
    } finally {
      await server.dispose();
    }
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function copyWith(bug: PlantedBug, root: string): Promise<void> {
  for (const name of ["src", "package.json", "tsconfig.json"])
    await cp(join(project, name), join(root, name), { recursive: true });
  // What the gateway imports, and what it looks for beside its sources.
  for (const name of ["node_modules", "replica-set"]) await symlink(join(project, name), join(root, name));
  const file = join(root, "src", bug.file);
  const parts = (await readFile(file, "utf8")).split(bug.search);
  if (parts.length !== 2)
    throw new Error(
      `"${bug.name}" has no place: ${bug.file} has ${parts.length - 1} times ${JSON.stringify(bug.search)}`,
    );
  await writeFile(file, parts.join(bug.replacement));
}
