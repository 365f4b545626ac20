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
const isLong = process.env.TAILGATE_CHECKER_SECONDS !== undefined;
/** On a slow machine what has not begun by then is left to long runs. */
const budgetMilliseconds = isLong ? Infinity : 50_000;
/** A bug that shows only when two things meet gets some chances: on a busy machine less happens in the same time. */
const attempts = 8;
/** Two at a time, for each waits for its gateway to start. */
const together = 2;

const bugs = plantedBugs.filter((bug) => isLong || !bug.isLong);

describe("the checker finds", () => {
  let began = 0;
  const runs = new Map<PlantedBug, Promise<Outcome>>();

  before(() => {
    began = performance.now();
  });

  /** Starts the run of a bug and of those that come next. */
  function outcomeOf(bug: PlantedBug): Promise<Outcome> {
    const index = bugs.indexOf(bug);
    for (const each of bugs.slice(index, index + together)) {
      if (runs.has(each)) continue;
      const run = runWith(each);
      // Whoever asks for it hears of its failure.
      run.catch(() => undefined);
      runs.set(each, run);
    }
    return runs.get(bug) as Promise<Outcome>;
  }

  it("a place for every bug, those of long runs too", async () => {
    for (const { name, file, search } of plantedBugs) {
      const text = await readFile(join(project, "src", file), "utf8");
      expect(text.split(search).length - 1, name).to.equal(1);
    }
  });

  it("nothing where nothing is planted", async () => {
    // Each scenario that a bug is found with; in short runs the one that most of them have.
    const scenarios = [...new Set(bugs.map(({ scenario }) => scenario))];
    const server = await startOwnServer();
    try {
      for (const scenario of isLong ? scenarios : scenarios.slice(0, 1)) {
        const { findings, counts } = await runChecker({ seed, scenario, seconds: 3, server });
        expect(findings.all, String(findings)).to.deep.equal([]);
        expect(counts.changes).to.be.greaterThan(50);
      }
    } finally {
      await server.dispose();
    }
  }).timeout(180_000);

  for (const bug of bugs) {
    it(`${bug.name} (${bug.finds.join(" or ")})`, async function () {
      if (!runs.has(bug) && performance.now() - began > budgetMilliseconds) this.skip();
      const { findings, counts } = await outcomeOf(bug);
      const found = bug.finds.filter((kind) => findings.kinds.has(kind));
      expect(found, `${JSON.stringify(counts)}\n${findings}`).not.to.deep.equal([]);
    }).timeout(600_000);
  }
});

async function runWith(bug: PlantedBug): Promise<Outcome> {
  const root = await mkdtemp(join(tmpdir(), "tailgate-planted-"));
  try {
    await copyWith(bug, root);
    const { scenario, seconds, finds } = bug;
    let outcome: Outcome | undefined;
    let failure: unknown;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const server = await startOwnServer();
      try {
        outcome = await runChecker({ seed: seed + attempt, scenario, seconds, server, root, until: finds });
      } catch (error) {
        // Such as a gateway that did not start, with the bug or without it: that is looked for where nothing is planted.
        failure = error;
      } finally {
        await server.dispose();
      }
      if (finds.some((kind) => outcome?.findings.kinds.has(kind))) break;
    }
    if (outcome === undefined) throw failure;
    return outcome;
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
