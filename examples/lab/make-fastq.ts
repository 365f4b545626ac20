import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { labSettings } from "./settings.js";

const readLength = 150;
const flushBytes = 1_048_576;

/**
 * Makes a FASTQ file as a sequencer of short reads would: most reads of full length, some trimmed, qualities that fall off
 * towards the end, an N where nothing could be read. The same seed and size give the same bytes. A file that is there is
 * left alone, for it appears under its name only when it is complete.
 *
 * @param options.megabytes - the size, in millions of bytes; the last read may go a little beyond
 * @returns whether it was made now, and its size
 */
export function makeFastq(
  path: string,
  options: { megabytes?: number; seed?: number } = {},
): { made: boolean; bytes: number } {
  const { megabytes = 30, seed = 1 } = options;
  if (existsSync(path)) return { made: false, bytes: statSync(path).size };
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.${process.pid}.part`;
  const descriptor = openSync(part, "w");
  try {
    const bytes = writeReads(descriptor, megabytes * 1_000_000, randomOf(seed));
    closeSync(descriptor);
    renameSync(part, path);
    return { made: true, bytes };
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

function writeReads(descriptor: number, wanted: number, random: () => number): number {
  const buffer = Buffer.allocUnsafe(flushBytes + 1_024);
  const sequence = Buffer.allocUnsafe(readLength);
  const qualities = Buffer.allocUnsafe(readLength);
  const meanAt = Float64Array.from({ length: readLength }, (_, place) => meanQuality(place));
  let used = 0;
  let written = 0;
  for (let read = 1; written + used < wanted; read++) {
    const length = random() % 10 < 7 ? readLength : 35 + (random() % (readLength - 35));
    fillRead(sequence, qualities, length, meanAt, random);
    used += buffer.write(`@LAB:1:${1 + (read % 4)}:${1_000 + (random() % 9_000)}:${read}\n`, used, "latin1");
    used += sequence.copy(buffer, used, 0, length);
    used += buffer.write("\n+\n", used, "latin1");
    used += qualities.copy(buffer, used, 0, length);
    used += buffer.write("\n", used, "latin1");
    if (used >= flushBytes) {
      written += writeAll(descriptor, buffer, used);
      used = 0;
    }
  }
  return written + writeAll(descriptor, buffer, used);
}

/** Good for the first bases, after a short warm-up, then worse and worse. */
function meanQuality(place: number): number {
  const warmUp = place < 5 ? (5 - place) * 0.9 : 0;
  return 37 - warmUp - 15 * (place / readLength) ** 2.4;
}

const bases = Buffer.from("ACGT");
const unknownBase = "N".charCodeAt(0);

function fillRead(
  sequence: Buffer,
  qualities: Buffer,
  length: number,
  meanAt: Float64Array,
  random: () => number,
): void {
  // Some reads are worse as a whole.
  const shift = random() % 8 === 0 ? -9 : 1;
  for (let place = 0; place < length; place++) {
    const bits = random();
    // Four draws summed up are nearly normal: a spread of about 3 around 0.
    const noise = ((bits & 7) + ((bits >>> 3) & 7) + ((bits >>> 6) & 7) - 10.5) * 0.8;
    const quality = Math.max(2, Math.min(41, Math.round((meanAt[place] as number) + shift + noise)));
    const isUnknown = quality < 16 && ((bits >>> 9) & 15) === 0;
    qualities[place] = 33 + (isUnknown ? 2 : quality);
    // 51 % G and C.
    const isGc = ((bits >>> 16) & 1023) < 522;
    const base = bases[isGc ? 1 + ((bits >>> 26) & 1) : 3 * ((bits >>> 26) & 1)] as number;
    sequence[place] = isUnknown ? unknownBase : base;
  }
}

function writeAll(descriptor: number, buffer: Buffer, length: number): number {
  for (let done = 0; done < length; ) done += writeSync(descriptor, buffer, done, length - done);
  return length;
}

/** Marsaglia's xorshift of 32 bits; each call gives a whole number from 1 to 2³² - 1. */
function randomOf(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const { values } = parseArgs({
    options: {
      megabytes: { type: "string", default: "30" },
      seed: { type: "string", default: "1" },
      out: { type: "string", default: join(labSettings().dataFolder, "reads.fastq") },
    },
  });
  const { made, bytes } = makeFastq(values.out, { megabytes: Number(values.megabytes), seed: Number(values.seed) });
  console.log(`${values.out}: ${(bytes / 1e6).toFixed(1)} MB${made ? "" : ", was there already"}`);
}
