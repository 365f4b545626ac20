/*
 * What is counted of the reads of a FASTQ file, and the summary of it. Everything is a count or a sum, so the memory that
 * it takes grows with the longest read and not with the file.
 */

/** At most this many places and bins go into a summary, so that it stays a small document. */
const maxPositions = 200;
const maxBins = 24;

export interface LengthBin {
  /** Lengths in bases, both included. */
  readonly from: number;
  readonly to: number;
  readonly reads: number;
}

export interface QualityAtPosition {
  /** Places in the read, counted from 1, both included. */
  readonly from: number;
  readonly to: number;
  /** The mean of the Phred scores. */
  readonly mean: number;
}

export interface Statistics {
  readonly reads: number;
  readonly bases: number;
  readonly length: {
    readonly min: number;
    readonly mean: number;
    readonly max: number;
    readonly histogram: readonly LengthBin[];
  };
  /** G and C among A, C, G and T, from 0 to 1; null where there is none of them. */
  readonly gc: number | null;
  readonly n: { readonly bases: number; readonly fraction: number; readonly reads: number };
  readonly quality: { readonly mean: number | null; readonly byPosition: readonly QualityAtPosition[] };
}

/** Phred scores are written as characters from `!` for 0. */
const phredOffset = 33;
const lastQuality = 126;

export const isBase = tableOf("ACGTUNRYSWKMBDHVacgtunryswkmbdhv");
const isGc = tableOf("GCgc");
const isAt = tableOf("ATUatu");
const isN = tableOf("Nn");

export class FastqCounts {
  #reads = 0;
  #bases = 0;
  #gc = 0;
  #at = 0;
  #n = 0;
  #readsWithN = 0;
  readonly #lengths = new Map<number, number>();
  #qualitySum = new Float64Array(512);
  #qualityCount = new Float64Array(512);

  /** @returns the place, from 0, of the first byte that is no base; -1 where all are */
  addSequence(bytes: Uint8Array, start: number, end: number): number {
    let gc = 0;
    let at = 0;
    let n = 0;
    for (let index = start; index < end; index++) {
      const byte = bytes[index] as number;
      if (isBase[byte] === 0) return index - start;
      gc += isGc[byte] as number;
      at += isAt[byte] as number;
      n += isN[byte] as number;
    }
    const length = end - start;
    this.#reads++;
    this.#bases += length;
    this.#gc += gc;
    this.#at += at;
    this.#n += n;
    if (n > 0) this.#readsWithN++;
    this.#lengths.set(length, (this.#lengths.get(length) ?? 0) + 1);
    return -1;
  }

  /** @returns the place, from 0, of the first byte that is no quality; -1 where all are */
  addQualities(bytes: Uint8Array, start: number, end: number): number {
    this.#makeRoom(end - start);
    const sums = this.#qualitySum;
    const counts = this.#qualityCount;
    for (let index = start; index < end; index++) {
      const quality = (bytes[index] as number) - phredOffset;
      if (quality < 0 || quality > lastQuality - phredOffset) return index - start;
      sums[index - start] = (sums[index - start] as number) + quality;
      counts[index - start] = (counts[index - start] as number) + 1;
    }
    return -1;
  }

  /** @returns the summary, or undefined where there was no read */
  summary(): Statistics | undefined {
    if (this.#reads === 0) return undefined;
    const lengths = [...this.#lengths.keys()];
    const min = lengths.reduce((least, length) => Math.min(least, length));
    const max = lengths.reduce((most, length) => Math.max(most, length));
    const known = this.#gc + this.#at;
    return {
      reads: this.#reads,
      bases: this.#bases,
      length: { min, mean: this.#bases / this.#reads, max, histogram: this.#histogram(min, max) },
      gc: known === 0 ? null : this.#gc / known,
      n: {
        bases: this.#n,
        fraction: this.#bases === 0 ? 0 : this.#n / this.#bases,
        reads: this.#readsWithN,
      },
      quality: {
        mean: this.#bases === 0 ? null : total(this.#qualitySum) / this.#bases,
        byPosition: this.#qualityByPosition(max),
      },
    };
  }

  #histogram(min: number, max: number): LengthBin[] {
    const width = Math.max(1, Math.ceil((max - min + 1) / maxBins));
    const reads = new Array<number>(Math.floor((max - min) / width) + 1).fill(0);
    for (const [length, count] of this.#lengths) {
      const bin = Math.floor((length - min) / width);
      reads[bin] = (reads[bin] as number) + count;
    }
    return reads.map((count, bin) => ({
      from: min + bin * width,
      to: Math.min(max, min + (bin + 1) * width - 1),
      reads: count,
    }));
  }

  #qualityByPosition(longest: number): QualityAtPosition[] {
    const width = Math.max(1, Math.ceil(longest / maxPositions));
    const places: QualityAtPosition[] = [];
    for (let start = 0; start < longest; start += width) {
      const end = Math.min(longest, start + width);
      const mean = total(this.#qualitySum.subarray(start, end)) / total(this.#qualityCount.subarray(start, end));
      places.push({ from: start + 1, to: end, mean });
    }
    return places;
  }

  #makeRoom(length: number): void {
    if (length <= this.#qualitySum.length) return;
    const size = 2 ** Math.ceil(Math.log2(length));
    this.#qualitySum = grown(this.#qualitySum, size);
    this.#qualityCount = grown(this.#qualityCount, size);
  }
}

function tableOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}

function grown(old: Float64Array<ArrayBuffer>, size: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(size);
  larger.set(old);
  return larger;
}

function total(numbers: Float64Array): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
