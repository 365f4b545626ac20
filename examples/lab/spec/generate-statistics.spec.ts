import { join } from "node:path";
import { expect } from "chai";
import { makeFastq } from "../make-fastq.js";
import { type LabRig, type ShownTask, startRig } from "./support/rig.js";

type Statistics = NonNullable<ShownTask["result"]> & {
  length: { histogram: { from: number; to: number; reads: number }[] };
  quality: { mean: number; byPosition: { from: number; to: number; mean: number }[] };
};

/** Four reads, written by hand. `!` is 0, `+` 10, `5` 20, `?` 30, `I` 40. */
const byHand = [
  "@a",
  "ACGT",
  "+",
  "I?5+",
  "@b some text",
  "GGC",
  "+b",
  "III",
  "@c",
  "acgtNN",
  "+",
  "I?5+!!",
  "@d",
  "N",
  "+",
  "!",
];

describe("the task generate-statistics", () => {
  let rig: LabRig;
  before(async () => {
    rig = await startRig();
  });
  after(() => rig.stop());

  async function statisticsOf(content: string): Promise<Statistics> {
    await rig.write("sample.fastq", content);
    const { state, result, error } = await rig.end("generate-statistics", { file: "sample.fastq" });
    expect(state, JSON.stringify(error)).to.equal("complete");
    return result as Statistics;
  }

  async function failureOf(content: string | Buffer): Promise<ShownTask["error"]> {
    await rig.write("bad.fastq", content);
    const { state, error } = await rig.end("generate-statistics", { file: "bad.fastq" });
    expect(state).to.equal("failed");
    return error;
  }

  it("counts what a person counts by hand", async () => {
    const result = await statisticsOf(`${byHand.join("\n")}\n`);
    expect(result).to.deep.include({ file: "sample.fastq", reads: 4, bases: 14 });
    expect(result.length).to.deep.equal({
      min: 1,
      mean: 3.5,
      max: 6,
      histogram: [1, 2, 3, 4, 5, 6].map((at) => ({ from: at, to: at, reads: [1, 0, 1, 1, 0, 1][at - 1] })),
    });
    // 2 of ACGT, 3 of GGC and 2 of acgt, among the 11 bases that are known.
    expect(result.gc).to.be.closeTo(7 / 11, 1e-12);
    expect(result.n).to.deep.equal({ bases: 3, fraction: 3 / 14, reads: 2 });
    expect(result.quality.mean).to.be.closeTo((100 + 120 + 100 + 0) / 14, 1e-12);
    const byPosition = [(40 + 40 + 40 + 0) / 4, (30 + 40 + 30) / 3, (20 + 40 + 20) / 3, 10, 0, 0];
    expect(result.quality.byPosition.map(({ from, to }) => [from, to])).to.deep.equal(
      byPosition.map((_, index) => [index + 1, index + 1]),
    );
    for (const [index, { mean }] of result.quality.byPosition.entries()) {
      expect(mean).to.be.closeTo(byPosition[index] as number, 1e-12);
    }
  });

  it("reads lines that end as on Windows, a last line that does not end, and blank lines after the last read", async () => {
    const plain = await statisticsOf(`${byHand.join("\n")}\n`);
    for (const text of [byHand.join("\r\n"), byHand.join("\n"), `${byHand.join("\n")}\n\n\n`]) {
      const { bytes, seconds, ...counted } = await statisticsOf(text);
      const { bytes: _, seconds: __, ...expected } = plain;
      expect(counted).to.deep.equal(expected);
      expect(bytes).to.equal(text.length);
      expect(seconds).to.be.at.least(0);
    }
  });

  it("agrees with a plain computation over a file that is read in several pieces, and shows how far it is", async () => {
    makeFastq(join(rig.folder, "reads.fastq"), { megabytes: 6, seed: 7 });
    const { readFile } = await import("node:fs/promises");
    const lines = (await readFile(join(rig.folder, "reads.fastq"), "latin1")).trimEnd().split("\n");
    const reads = lines.filter((_, index) => index % 4 === 1);
    const qualities = lines.filter((_, index) => index % 4 === 3);
    const bases = reads.join("");
    const scores = [...qualities.join("")].map((character) => character.charCodeAt(0) - 33);
    const at100 = qualities.filter((line) => line.length > 99).map((line) => line.charCodeAt(99) - 33);

    // Large enough that progress is told of several times.
    makeFastq(join(rig.folder, "large.fastq"), { megabytes: 40 });
    const moving = await rig.run("generate-statistics", { file: "large.fastq" });
    expect(moving.some(({ state, progress }) => state === "running" && Number(progress) > 0)).to.equal(true);
    const shown = await rig.run("generate-statistics", { file: "reads.fastq" });
    const result = shown.at(-1)?.result as Statistics;
    expect(result).to.deep.include({ reads: reads.length, bases: bases.length });
    expect(result.gc).to.be.closeTo(bases.replace(/[^GC]/g, "").length / bases.replace(/N/g, "").length, 1e-9);
    expect(result.n).to.have.property("bases", bases.replace(/[^N]/g, "").length);
    expect(result.quality.mean).to.be.closeTo(mean(scores), 1e-9);
    expect(result.quality.byPosition.find(({ from }) => from === 100)?.mean).to.be.closeTo(mean(at100), 1e-9);
    expect(result.length.histogram.reduce((sum, { reads: count }) => sum + count, 0)).to.equal(reads.length);
    expect(Buffer.byteLength(JSON.stringify(result))).to.be.below(20_000);
  });

  it("groups places and lengths where reads are long, and takes lines of megabytes", async () => {
    const long = 2_500_000;
    const result = await statisticsOf(`@long\n${"A".repeat(long)}\n+\n${"I".repeat(long)}\n@short\nAC\n+\n!!\n`);
    expect(result.quality.byPosition).to.have.length(200);
    expect(result.quality.byPosition.at(-1)).to.deep.equal({ from: 199 * 12_500 + 1, to: long, mean: 40 });
    expect(result.length.histogram).to.have.length(24);
    expect(result.length.histogram.map(({ reads }) => reads)).to.deep.equal([1, ...Array(22).fill(0), 1]);
  });

  const read = "@a\nACGT\n+\nIIII\n";
  const wrong: [what: string, content: string | Buffer, message: string | RegExp][] = [
    ["no @ where a read begins", `${read}>b\nACGT\n`, 'line 5: a read begins with @, not with ">"'],
    [
      "no + after the bases",
      `${read}@b\nACGT\nIIII\n+\n`,
      /^line 7: after its bases, a read goes on with a line that begins with \+/,
    ],
    ["too few qualities", `${read}@b\nACGT\n+\nIII\n`, "line 8: 3 qualities for 4 bases"],
    ["too many qualities", `@b\nACGT\n+\nIIIII\n${read}`, "line 4: 5 qualities for 4 bases"],
    ["a base that is none", `${read}@b\nAC-T\n+\nIIII\n`, 'line 6: "-" at place 3 is no base'],
    ["a quality that is none", `@b\nACGT\n+\nII I\n`, "line 4: byte 32 at place 3 is no quality"],
    [
      "an end in the middle of a read",
      `${read}@b\nACGT\n`,
      "line 6: the file ends in the middle of a read; a line with + should follow",
    ],
    ["a blank line between reads", `${read}\n${read}`, "line 5: there is a blank line between reads"],
    ["nothing in it", "", "bad.fastq holds no reads"],
    ["a compressed file", Buffer.from([0x1f, 0x8b, 8, 0, 10, 10]), "line 1: the file is compressed; unpack it first"],
  ];
  for (const [what, content, message] of wrong) {
    it(`says where a file is wrong: ${what}`, async () => {
      const error = await failureOf(content);
      expect(error?.code).to.equal("bad-fastq");
      if (typeof message === "string") expect(error?.message).to.equal(message);
      else expect(error?.message).to.match(message);
    });
  }

  it("runs in a process of its own", async () => {
    await rig.write("sample.fastq", byHand.join("\n"));
    await rig.end("generate-statistics", { file: "sample.fastq" });
    expect(rig.gateway.executors.processes.stats().workers).to.be.at.least(1);
    expect(rig.gateway.executors.threads.stats().workers).to.equal(0);
  });
});

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
