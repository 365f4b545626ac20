import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type OwnServer, startOwnServer } from "../support/server.js";
import { runChecker } from "./run.js";
import { type ScenarioName, scenarios } from "./scenarios.js";
import { keptSeeds } from "./seeds.js";

const { TAILGATE_CHECKER_SECONDS, TAILGATE_CHECKER_SEEDS, TAILGATE_CHECKER_SCENARIO, TAILGATE_SEED } = process.env;
/** Where the gateway's sources are, to look at those of another version. */
const root = process.env.TAILGATE_CHECKER_ROOT;
/** How long faults and writes go on with one seed. */
const seconds = Number(TAILGATE_CHECKER_SECONDS ?? 6);
const isLong = TAILGATE_CHECKER_SECONDS !== undefined;
const named = TAILGATE_CHECKER_SCENARIO as ScenarioName | undefined;

/** One seed that was asked for; else some by chance, and those that found something once. */
function plan(): readonly { readonly seed: number; readonly scenario: ScenarioName }[] {
  // Silence that only a watchdog notices takes its time.
  const scenario = named ?? (seconds >= 60 ? "patient" : "everything");
  if (TAILGATE_SEED !== undefined) return [{ seed: Number(TAILGATE_SEED), scenario }];
  const count = Number(TAILGATE_CHECKER_SEEDS ?? 1);
  const by = (scenario: ScenarioName) => ({ seed: Math.floor(Math.random() * 2 ** 31), scenario });
  const fresh = Array.from({ length: count }, () => by(scenario));
  // What waits for a slow reader is met by that one alone.
  if (named === undefined) fresh.push(by("heavy"));
  return [...fresh, ...keptSeeds.filter((kept) => isLong || kept.isQuick)];
}

describe("the checker", () => {
  let server: OwnServer;

  before(async () => {
    server = await startOwnServer();
  });
  after(() => server.dispose());

  for (const { seed, scenario } of plan()) {
    it(`finds every client's copy exact, with seed ${seed} of "${scenario}"`, async () => {
      const { findings, counts } = await runChecker({
        seed,
        scenario: scenarios[scenario],
        seconds,
        server,
        ...(root === undefined ? {} : { root }),
      });
      if (isLong) console.log(JSON.stringify(counts));
      if (findings.all.length > 0) {
        const story = join(tmpdir(), `tailgate-checker-${seed}.log`);
        await writeFile(story, `${findings.story.join("\n")}\n`);
        const again = `TAILGATE_SEED=${seed} TAILGATE_CHECKER_SCENARIO=${scenario} TAILGATE_CHECKER_SECONDS=${seconds}`;
        expect.fail(`${findings}\n\nAgain: ${again} npx mocha spec/checker/checker.spec.ts\nThe story: ${story}`);
      }
      expect(counts.changes, "changes that were checked").to.be.greaterThan(50);
      expect(counts.recoveries, "returns that went on where they were").to.be.greaterThan(0);
    }).timeout((seconds + 240) * 1_000);
  }
});
