import type { Collection, Db } from "mongodb";

/*
 * The laboratory as its database knows it, and one small change of it after another: samples arrive and go through their
 * stages, each stage is a job, what is done is archived and later removed. All state is in the database, so whoever makes
 * the changes may be stopped and started at any time.
 */

export const samplesCollection = "samples";
export const jobsCollection = "jobs";

export type SampleState = "received" | "sequencing" | "sequenced" | "analysing" | "analysed" | "archived";
export type JobState = "waiting" | "running" | "complete" | "failed";

export interface SampleDocument {
  readonly _id: string;
  readonly organism: string;
  readonly source: string;
  readonly state: SampleState;
  readonly reads?: number;
  readonly gc?: number | null;
  /** The mean of the Phred scores. */
  readonly quality?: number | null;
  readonly statistics?: Readonly<Record<string, unknown>>;
  readonly reference?: Readonly<Record<string, unknown>>;
  /** Where it is kept. Not part of what clients see, so moving a sample sends nothing. */
  readonly freezer: string;
  readonly created_at: Date;
  readonly updated_at: Date;
}

export interface JobDocument {
  readonly _id: string;
  readonly name: string;
  readonly sample: string;
  /** Who advances it: the writer, or a task of the gateway. */
  readonly runner: "writer" | "gateway";
  readonly state: JobState;
  /** What it is doing, or why it failed. */
  readonly step: string;
  readonly progress: number;
  readonly created_at: Date;
  readonly started_at?: Date;
  readonly updated_at: Date;
  readonly ended_at?: Date;
}

/** What samples and jobs have in common. */
interface Known {
  readonly _id: string;
  readonly state: string;
}

export const maxSamples = 14;
export const maxJobs = 18;
const maxRunningJobs = 4;
const maxWaitingJobs = 4;
/** A job of the gateway that says nothing for so long has lost its gateway. */
const silentMilliseconds = 600_000;

const origins = [
  ["Escherichia coli", "river water"],
  ["Staphylococcus aureus", "skin swab"],
  ["Klebsiella pneumoniae", "hospital drain"],
  ["Saccharomyces cerevisiae", "brewery vat"],
  ["Mycobacterium tuberculosis", "sputum culture"],
  ["Arabidopsis thaliana", "leaf"],
  ["Pseudomonas aeruginosa", "soil"],
  ["Listeria monocytogenes", "soft cheese"],
] as const;

interface Stage {
  readonly job: string;
  readonly from: SampleState;
  readonly during: SampleState;
  readonly to: SampleState;
  readonly steps: readonly string[];
  readonly failure: string;
}

const stages: readonly Stage[] = [
  {
    job: "sequence",
    from: "received",
    during: "sequencing",
    to: "sequenced",
    steps: ["preparing the library", "loading the flow cell", "reading bases", "demultiplexing"],
    failure: "the flow cell gave too few clusters",
  },
  {
    job: "align",
    from: "sequenced",
    during: "analysing",
    to: "analysed",
    steps: ["trimming adapters", "aligning reads", "sorting", "calling variants"],
    failure: "fewer than half of the reads could be aligned",
  },
];

export interface Laboratory {
  /** Fills an empty database with a few samples and jobs; leaves one that has samples as it is. */
  seed(): Promise<void>;
  /** Makes one small change. */
  step(): Promise<void>;
}

/** @param random - a number in [0, 1); replaced in specs */
export function createLaboratory(db: Db, random: () => number = Math.random): Laboratory {
  const samples = db.collection<SampleDocument>(samplesCollection);
  const jobs = db.collection<JobDocument>(jobsCollection);
  const known = (name: string) => db.collection<Known>(name);
  const pick = <Item>(items: readonly Item[]): Item | undefined => items[Math.floor(random() * items.length)];

  async function addSample(): Promise<void> {
    const [organism, source] = pick(origins) ?? origins[0];
    const now = new Date();
    await samples.insertOne({
      _id: `S-${(await highest(known(samplesCollection))) + 1}`,
      organism,
      source,
      state: "received",
      freezer: place(random),
      created_at: now,
      updated_at: now,
    });
  }

  async function addJob(): Promise<boolean> {
    if ((await jobs.countDocuments({ state: "waiting" })) >= maxWaitingJobs) return false;
    const { sample, stage } = pick(await waitingForStage()) ?? {};
    if (sample === undefined || stage === undefined) return false;
    const now = new Date();
    await jobs.insertOne({
      _id: `J-${(await highest(known(jobsCollection))) + 1}`,
      name: stage.job,
      sample: sample._id,
      runner: "writer",
      state: "waiting",
      step: "waiting for a place",
      progress: 0,
      created_at: now,
      updated_at: now,
    });
    return true;
  }

  /** Samples that could go on and have no job that takes them there. */
  async function waitingForStage(): Promise<{ sample: SampleDocument; stage: Stage }[]> {
    const open = await jobs.distinct("sample", { state: { $in: ["waiting", "running"] } });
    const found = await samples.find({ state: { $in: stages.map(({ from }) => from) }, _id: { $nin: open } }).toArray();
    return found.flatMap((sample) => {
      const stage = stages.find(({ from }) => from === sample.state);
      return stage === undefined ? [] : [{ sample, stage }];
    });
  }

  async function startJob(): Promise<boolean> {
    if ((await jobs.countDocuments({ state: "running", runner: "writer" })) >= maxRunningJobs) return false;
    const job = await jobs.findOne({ state: "waiting", runner: "writer" }, { sort: { created_at: 1 } });
    if (job === null) return false;
    const stage = stageOf(job);
    const now = new Date();
    await jobs.updateOne(
      { _id: job._id },
      { $set: { state: "running", step: stage.steps[0] ?? "running", started_at: now, updated_at: now } },
    );
    await samples.updateOne({ _id: job.sample }, { $set: { state: stage.during, updated_at: now } });
    return true;
  }

  async function advanceJob(): Promise<boolean> {
    const job = pick(await jobs.find({ state: "running", runner: "writer" }).toArray());
    if (job === undefined) return false;
    const stage = stageOf(job);
    const progress = Math.round((job.progress + 0.06 + random() * 0.14) * 100) / 100;
    const now = new Date();
    if (progress >= 1) {
      await endJob(job, stage, random() < 0.88);
      return true;
    }
    const step = stage.steps[Math.floor(progress * stage.steps.length)] ?? job.step;
    await jobs.updateOne({ _id: job._id }, { $set: { progress, step, updated_at: now } });
    return true;
  }

  async function endJob(job: JobDocument, stage: Stage, hasWorked: boolean): Promise<void> {
    const now = new Date();
    const end = hasWorked
      ? { state: "complete" as const, step: "done", progress: 1 }
      : { state: "failed" as const, step: stage.failure };
    await jobs.updateOne({ _id: job._id }, { $set: { ...end, updated_at: now, ended_at: now } });
    const measured =
      stage.job === "sequence"
        ? { reads: 200_000 + Math.floor(random() * 4_000_000), quality: round(30 + random() * 7, 1) }
        : { gc: round(0.32 + random() * 0.34, 3) };
    // A failed stage is tried again, from where the sample was before it.
    await samples.updateOne(
      { _id: job.sample },
      { $set: { state: hasWorked ? stage.to : stage.from, ...(hasWorked && measured), updated_at: now } },
    );
  }

  async function archive(): Promise<boolean> {
    const sample = await samples.findOne({ state: "analysed" }, { sort: { updated_at: 1 } });
    if (sample === null) return false;
    await samples.updateOne({ _id: sample._id }, { $set: { state: "archived", updated_at: new Date() } });
    return true;
  }

  async function moveToOtherFreezer(): Promise<boolean> {
    const sample = pick(await samples.find({}, { projection: { _id: 1 } }).toArray());
    if (sample === undefined) return false;
    await samples.updateOne({ _id: sample._id }, { $set: { freezer: place(random) } });
    return true;
  }

  /** Keeps the collections small, whoever filled them. @returns whether anything was too much */
  async function tidy(): Promise<boolean> {
    await jobs.updateMany(
      { runner: "gateway", state: "running", updated_at: { $lt: new Date(Date.now() - silentMilliseconds) } },
      { $set: { state: "failed", step: "its gateway was lost", updated_at: new Date(), ended_at: new Date() } },
    );
    const tooManyJobs = (await jobs.countDocuments()) - maxJobs;
    if (tooManyJobs > 0) {
      // A few at once: deletes that follow one another are sent as one list.
      return remove(known(jobsCollection), ["complete", "failed"], tooManyJobs + 3);
    }
    const tooManySamples = (await samples.countDocuments()) - maxSamples;
    return tooManySamples > 0 && remove(known(samplesCollection), ["archived"], tooManySamples);
  }

  return {
    async seed() {
      if ((await samples.estimatedDocumentCount()) > 0) return;
      for (let count = 0; count < 10; count++) await addSample();
      for (let count = 0; count < 5; count++) await addJob();
      for (let count = 0; count < 3; count++) await startJob();
    },
    async step() {
      if (await tidy()) return;
      const chance = random();
      if (chance < 0.55 && (await advanceJob())) return;
      if (chance < 0.74 && (await startJob())) return;
      if (chance < 0.84 && (await addJob())) return;
      if (chance < 0.9 && (await archive())) return;
      if (chance < 0.92 && (await moveToOtherFreezer())) return;
      if ((await samples.countDocuments()) <= maxSamples) return await addSample();
      // Full: then the work has to go on.
      if ((await startJob()) || (await addJob()) || (await advanceJob())) return;
      await archive();
    },
  };
}

function stageOf(job: JobDocument): Stage {
  return stages.find((stage) => stage.job === job.name) ?? (stages[0] as Stage);
}

/** @returns the highest number among ids such as `S-1041` */
async function highest(collection: Collection<Known>): Promise<number> {
  const ids = await collection.find({}, { projection: { _id: 1 } }).toArray();
  return ids.reduce((most, { _id }) => Math.max(most, Number(/^[SJ]-(\d+)$/.exec(_id)?.[1] ?? 0)), 1_000);
}

async function remove(collection: Collection<Known>, states: readonly string[], count: number): Promise<boolean> {
  const oldest = await collection
    .find({ state: { $in: states } }, { sort: { updated_at: 1 }, limit: count, projection: { _id: 1 } })
    .toArray();
  if (oldest.length === 0) return false;
  await collection.deleteMany({ _id: { $in: oldest.map(({ _id }) => _id) } });
  return true;
}

function place(random: () => number): string {
  return `rack ${1 + Math.floor(random() * 8)}, box ${1 + Math.floor(random() * 40)}`;
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
