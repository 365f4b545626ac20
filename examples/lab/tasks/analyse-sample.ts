import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Collection, ObjectId } from "mongodb";
import { exported, type MainTaskContext } from "tailgate";
import { type DataFile, LabError } from "../data-folder.js";
import { type JobDocument, jobsCollection, type SampleDocument, samplesCollection } from "../laboratory.js";
import type { copyFile } from "./copy-file.js";
import type { generateStatistics, StatisticsOfFile } from "./generate-statistics.js";

/** The part of the data folder where working copies are; nothing in it outlives the lab. */
export const workFolder = "work";

const copy = exported<typeof copyFile>(import.meta.resolve("./copy-file.js"), "copyFile");
const statistics = exported<typeof generateStatistics>(
  import.meta.resolve("./generate-statistics.js"),
  "generateStatistics",
);

/**
 * A small pipeline: makes a working copy of the reads in a thread, computes its statistics in a process, writes them on the
 * sample. It waits on the main thread, and keeps a document of the jobs, which every screen follows.
 *
 * @throws LabError `no-such-sample`, and whatever a step throws; the job is then failed as well
 */
export async function analyseSample(
  input: { sample: string; file: DataFile },
  context: Pick<MainTaskContext, "db" | "progress" | "runInThread" | "runInProcess">,
): Promise<{ job: string; sample: string; reads: number; gc: number | null }> {
  const { db } = context;
  const { sample, file } = input;
  const jobs = db.collection<JobDocument>(jobsCollection);
  const samples = db.collection<SampleDocument>(samplesCollection);
  if ((await samples.findOne({ _id: sample })) === null) throw noSuchSample(sample);

  const job = `P-${new ObjectId().toHexString().slice(-8)}`;
  const workingCopy: DataFile = { folder: file.folder, name: `${workFolder}/${job}/reads.fastq` };
  const now = new Date();
  await jobs.insertOne({
    _id: job,
    name: "analyse",
    sample,
    runner: "gateway",
    state: "running",
    step: "copying the reads",
    progress: 0,
    created_at: now,
    started_at: now,
    updated_at: now,
  });
  const advance = async (step: string, progress: number): Promise<void> => {
    context.progress(progress);
    await jobs.updateOne({ _id: job }, { $set: { step, progress, updated_at: new Date() } });
  };
  const finish = (state: "complete" | "failed", step: string, progress?: number) => {
    const at = new Date();
    const reached = progress === undefined ? {} : { progress };
    return jobs.updateOne({ _id: job }, { $set: { state, step, ...reached, updated_at: at, ended_at: at } });
  };

  try {
    await context.runInThread(copy, { from: file, to: workingCopy, overwrite: false });
    await advance("computing statistics", 0.3);
    const result = await context.runInProcess(statistics, { file: workingCopy });
    await advance("writing results", 0.9);
    await noteOn(samples, sample, result, file.name);
    await finish("complete", "done", 1);
    return { job, sample, reads: result.reads, gc: result.gc };
  } catch (error) {
    await finish("failed", error instanceof Error ? error.message.slice(0, 200) : "failed");
    throw error;
  } finally {
    await rm(join(file.folder, workFolder, job), { recursive: true, force: true });
  }
}

async function noteOn(
  samples: Collection<SampleDocument>,
  sample: string,
  result: StatisticsOfFile,
  file: string,
): Promise<void> {
  const statistics = {
    file,
    reads: result.reads,
    bases: result.bases,
    mean_length: result.length.mean,
    n_fraction: result.n.fraction,
  };
  const { matchedCount } = await samples.updateOne(
    { _id: sample },
    {
      $set: {
        reads: result.reads,
        gc: result.gc,
        quality: result.quality.mean,
        statistics,
        updated_at: new Date(),
      },
    },
  );
  if (matchedCount === 0) throw noSuchSample(sample);
}

function noSuchSample(sample: string): LabError {
  return new LabError("no-such-sample", `there is no sample ${sample}`);
}
