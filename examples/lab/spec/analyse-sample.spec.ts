import { access } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { type JobDocument, jobsCollection, type SampleDocument, samplesCollection } from "../laboratory.js";
import { makeFastq } from "../make-fastq.js";
import { workFolder } from "../tasks/analyse-sample.js";
import { type LabRig, startRig } from "./support/rig.js";

describe("the task analyse-sample", () => {
  let rig: LabRig;
  before(async () => {
    rig = await startRig();
    makeFastq(join(rig.folder, "reads.fastq"), { megabytes: 3 });
  });
  after(() => rig.stop());

  async function addSample(id: string): Promise<void> {
    const now = new Date();
    await rig.database.db.collection<SampleDocument>(samplesCollection).insertOne({
      _id: id,
      organism: "Escherichia coli",
      source: "soil",
      state: "received",
      freezer: "rack 1",
      created_at: now,
      updated_at: now,
    });
  }

  function jobOf(sample: string): Promise<JobDocument | null> {
    return rig.database.db.collection<JobDocument>(jobsCollection).findOne({ sample });
  }

  async function leavesNothing(): Promise<boolean> {
    const job = await access(join(rig.folder, workFolder)).then(
      () => true,
      () => false,
    );
    if (!job) return true;
    const { readdir } = await import("node:fs/promises");
    return (await readdir(join(rig.folder, workFolder))).length === 0;
  }

  it("shows its steps as a job, and what it found on the sample", async () => {
    await addSample("S-1");
    const first = rig.client.received.length;
    const { state, result } = await rig.end("analyse-sample", { sample: "S-1", file: "reads.fastq" });
    expect(state).to.equal("complete");
    const job = await jobOf("S-1");
    expect(job).to.include({ _id: result?.job, state: "complete", progress: 1, runner: "gateway" });
    const seen = rig.client.received.slice(first).map((message) => message as { interface: string; data: object });
    const steps = seen.filter((message) => message.interface === "jobs").map(({ data }) => (data as JobDocument).step);
    // Without images a document is read when its change is: an update that follows at once may be seen in its place.
    expect(steps[2]).to.be.oneOf(["writing results", "done"]);
    expect(steps.with(2, "writing results")).to.deep.equal([
      "copying the reads",
      "computing statistics",
      "writing results",
      "done",
    ]);
    const sample = seen.findLast((message) => message.interface === "samples")?.data as SampleDocument;
    expect(sample.statistics).to.include({ file: "reads.fastq", reads: result?.reads });
    expect(sample.gc).to.equal(result?.gc);
    expect(sample).to.not.have.property("freezer");
    expect(await leavesNothing()).to.equal(true);
  });

  it("fails for a sample that is not there, without a job", async () => {
    const { error } = await rig.end("analyse-sample", { sample: "S-none", file: "reads.fastq" });
    expect(error).to.deep.equal({ code: "no-such-sample", message: "there is no sample S-none" });
    expect(await jobOf("S-none")).to.equal(null);
  });

  it("fails the job with the reason when a step fails", async () => {
    await addSample("S-2");
    await rig.write("bad.fastq", "@a\nACGT\n+\nIII\n");
    const { error } = await rig.end("analyse-sample", { sample: "S-2", file: "bad.fastq" });
    expect(error).to.deep.equal({ code: "bad-fastq", message: "line 4: 3 qualities for 4 bases" });
    expect(await jobOf("S-2")).to.include({ state: "failed", step: "line 4: 3 qualities for 4 bases", progress: 0.3 });
    expect(await leavesNothing()).to.equal(true);
  });

  it("fails the job when the task is cancelled", async () => {
    await addSample("S-3");
    makeFastq(join(rig.folder, "large.fastq"), { megabytes: 40 });
    const { body } = await rig.post("analyse-sample", { sample: "S-3", file: "large.fastq" });
    const isJob = ({ interface: name, data }: Record<string, unknown>) =>
      name === "jobs" && (data as JobDocument).sample === "S-3";
    await rig.client.until(isJob);
    const response = await fetch(`${rig.url}/api/tasks/${body.id}`, { method: "DELETE" });
    expect(response.status).to.equal(200);
    const messages = await rig.client.until(
      (message) => isJob(message) && (message.data as JobDocument).state === "failed",
    );
    expect(messages.at(-1)?.data).to.include({ step: "the task was cancelled" });
  });
});
