import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type OwnServer, startOwnServer } from "../support/server.js";
import { runChecker } from "./run.js";
import { everything, patient } from "./scenarios.js";
import { keptSeeds } from "./seeds.js";

/** How long faults and writes go on with one seed. */
const seconds = Number(process.env.TAILGATE_CHECKER_SECONDS ?? 6);
const isLong = process.env.TAILGATE_CHECKER_SECONDS !== undefined;
const scenario = seconds >= 60 ? patient : everything;
const count = Number(process.env.TAILGATE_CHECKER_SEEDS ?? 1);
const given = process.env.TAILGATE_SEED;
const fresh = Array.from({ length: count }, () => Math.floor(Math.random() * 2 ** 31));
const seeds = given === undefined ? [...fresh, ...(isLong ? keptSeeds : keptSeeds.slice(0, 1))] : [Number(given)];

describe("the checker", () => {
  let server: OwnServer;

  before(async () => {
    server = await startOwnServer();
  });
  after(() => server.dispose());

  for (const seed of seeds) {
    it(`finds every client's copy exact through faults of all kinds, with seed ${seed}`, async () => {
      const { findings, counts } = await runChecker({ seed, scenario, seconds, server });
      if (process.env.TAILGATE_CHECKER_COUNTS !== undefined) console.log(JSON.stringify(counts));
      if (findings.all.length > 0) {
        const story = join(tmpdir(), `tailgate-checker-${seed}.log`);
        await writeFile(story, `${findings.story.join("\n")}\n`);
        const again = `TAILGATE_SEED=${seed} TAILGATE_CHECKER_SECONDS=${seconds} npx mocha spec/checker/checker.spec.ts`;
        expect.fail(`${findings}\n\nAgain: ${again}\nWhat was done when: ${story}`);
      }
      expect(counts.changes, "changes that were checked").to.be.greaterThan(500);
      expect(counts.recoveries, "returns that went on where they were").to.be.greaterThan(10);
    }).timeout((seconds + 120) * 1_000);
  }
});
