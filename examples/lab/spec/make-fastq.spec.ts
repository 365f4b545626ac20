import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { makeFastq } from "../make-fastq.js";
import { generateStatistics } from "../tasks/generate-statistics.js";

describe("the data set", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tailgate-fastq-"));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const digest = async (name: string) =>
    createHash("sha256")
      .update(await readFile(join(folder, name)))
      .digest("hex");

  it("is the same for the same seed and size, and another for another seed", async () => {
    for (const [name, seed] of [
      ["a.fastq", 1],
      ["b.fastq", 1],
      ["c.fastq", 2],
    ] as const) {
      expect(makeFastq(join(folder, name), { megabytes: 2, seed }).made).to.equal(true);
    }
    expect(await digest("a.fastq")).to.equal(await digest("b.fastq"));
    expect(await digest("a.fastq")).to.not.equal(await digest("c.fastq"));
    expect((await stat(join(folder, "a.fastq"))).size).to.be.within(2_000_000, 2_001_000);
    expect(await readdir(folder)).to.deep.equal(["a.fastq", "b.fastq", "c.fastq"]);
  });

  it("is left alone when it is there", async () => {
    await writeFile(join(folder, "mine.fastq"), "mine");
    expect(makeFastq(join(folder, "mine.fastq"))).to.deep.equal({ made: false, bytes: 4 });
    expect(await readFile(join(folder, "mine.fastq"), "utf8")).to.equal("mine");
  });

  it("looks like what a sequencer makes: qualities fall off, some reads are trimmed, some bases are unknown", () => {
    makeFastq(join(folder, "d.fastq"), { megabytes: 4 });
    const { length, quality, n, gc } = generateStatistics({ file: { folder, name: "d.fastq" } });
    expect(length).to.include({ min: 35, max: 150 });
    const at = (position: number) => quality.byPosition[position - 1]?.mean ?? 0;
    expect(at(20)).to.be.above(33);
    expect(at(80)).to.be.within(at(150) + 3, at(20));
    expect(at(150)).to.be.within(15, 26);
    expect(n.fraction).to.be.within(0.000_05, 0.01);
    expect(gc).to.be.within(0.5, 0.52);
  });
});
