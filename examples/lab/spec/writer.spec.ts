import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { freshDatabase, type SpecDatabase } from "../../../spec/support/server.js";
import { createLaboratory, type JobDocument, maxJobs, maxSamples, type SampleDocument } from "../laboratory.js";
import { startChild } from "../processes.js";

describe("the laboratory", () => {
  let database: SpecDatabase;
  beforeEach(async () => {
    database = await freshDatabase();
  });
  afterEach(() => database.dispose());

  /** Evenly spread, and the same in every run. */
  function randomOf(seed: number): () => number {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
  }

  it("goes on for ever in small collections, through every state, and never stands still", async function () {
    this.timeout(180_000);
    const laboratory = createLaboratory(database.db, randomOf(3));
    await laboratory.seed();
    const samples = database.db.collection<SampleDocument>("samples");
    const jobs = database.db.collection<JobDocument>("jobs");
    const seen = new Set<string>();
    let before = "";
    for (let step = 0; step < 500; step++) {
      await laboratory.step();
      if (step % 5 !== 0) continue;
      const all = [await samples.find().toArray(), await jobs.find().toArray()] as const;
      expect(all[0].length).to.be.at.most(maxSamples + 2);
      expect(all[1].length).to.be.at.most(maxJobs + 2);
      for (const { state } of all.flat()) seen.add(state);
      const now = JSON.stringify(all);
      expect(now).to.not.equal(before, `nothing moved in the steps up to ${step}`);
      before = now;
    }
    expect([...seen].sort()).to.deep.equal([
      "analysed",
      "analysing",
      "archived",
      "complete",
      "failed",
      "received",
      "running",
      "sequenced",
      "sequencing",
      "waiting",
    ]);
    expect(await samples.findOne({ _id: "S-1001" })).to.equal(null);
    expect(await jobs.findOne({ _id: "J-1001" })).to.equal(null);
  });

  it("leaves what is there as it is when it is opened again, and frees jobs whose gateway was lost", async () => {
    const jobs = database.db.collection<JobDocument>("jobs");
    const samples = database.db.collection<SampleDocument>("samples");
    const old = new Date(Date.now() - 3_600_000);
    const job = { name: "analyse", sample: "S-1", runner: "gateway", step: "copying", progress: 0 } as const;
    await jobs.insertOne({ ...job, _id: "P-1", state: "running", created_at: old, updated_at: old });
    await jobs.insertOne({ ...job, _id: "P-2", state: "running", created_at: old, updated_at: new Date() });
    const laboratory = createLaboratory(database.db, randomOf(1));
    await laboratory.seed();
    const count = await samples.countDocuments();
    expect(count).to.be.above(0);
    await laboratory.seed();
    expect(await samples.countDocuments()).to.equal(count);
    await laboratory.step();
    expect(await jobs.findOne({ _id: "P-1" })).to.include({ state: "failed", step: "its gateway was lost" });
    expect(await jobs.findOne({ _id: "P-2" })).to.include({ state: "running" });
  });

  it("is kept busy by a program of its own, which ends when it is asked to", async () => {
    const lines: string[] = [];
    const changes = database.db.watch();
    const seen = changes.tryNext();
    const writer = startChild(
      "writer",
      fileURLToPath(new URL("../writer.ts", import.meta.url)),
      { MONGODB_URI: database.uri, LAB_PACE_MILLISECONDS: "20" },
      (line) => lines.push(line),
    );
    expect(await writer.ready).to.deep.equal({ ready: "writer" });
    await seen;
    const kinds = new Set<string>();
    while (kinds.size < 2) kinds.add((await changes.next()).operationType);
    await changes.close();
    expect(kinds).to.include("insert").and.include("update");
    await writer.stop();
    expect(await writer.ended).to.equal(0);
    expect(lines).to.deep.equal([]);
  });
});
