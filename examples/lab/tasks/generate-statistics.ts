import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { TaskContext } from "tailgate";
import { type DataFile, existingPath, LabError } from "../data-folder.js";
import { FastqCounts, type Statistics } from "../fastq-counts.js";

const chunkBytes = 1_048_576;
/** Longer than any read that a sequencer has made; a file with such a line is something else. */
const maxLineBytes = 64 * chunkBytes;

const [at, plus, newline, carriageReturn] = [0x40, 0x2b, 0x0a, 0x0d];

export interface StatisticsOfFile extends Statistics {
  readonly file: string;
  readonly bytes: number;
  readonly seconds: number;
}

/**
 * Counts, lengths, GC content and qualities of a FASTQ file: four lines for each read, not compressed. Made to run in a process
 * of its own, where it may block: the file is read a megabyte at a time, and any size takes the same memory.
 *
 * @param context - where it is given, told how much of the file is done, from 0 to 1
 * @throws LabError `no-such-file`, `outside-data-folder`, or `bad-fastq` with the number of the line
 */
export function generateStatistics(input: { file: DataFile }, context?: TaskContext): StatisticsOfFile {
  const startedAt = performance.now();
  const path = existingPath(input.file);
  const counts = new FastqCounts();
  const reader = new RecordReader(counts);
  const descriptor = openSync(path, "r");
  try {
    const { size } = fstatSync(descriptor);
    let done = 0;
    for (const lines = new LineSplitter(reader); ; context?.progress(size === 0 ? 1 : Math.min(1, done / size))) {
      const bytes = lines.fill((buffer, offset) => readSync(descriptor, buffer, offset, buffer.length - offset, null));
      if (bytes === 0) break;
      done += bytes;
    }
    reader.end();
    const statistics = counts.summary();
    if (statistics === undefined) throw new LabError("bad-fastq", `${input.file.name} holds no reads`);
    const seconds = Math.round(performance.now() - startedAt) / 1_000;
    return { file: input.file.name, bytes: done, seconds, ...statistics };
  } finally {
    closeSync(descriptor);
  }
}

interface LineSink {
  line(bytes: Uint8Array, start: number, end: number): void;
}

/** Cuts what is read into lines without copying them. */
class LineSplitter {
  readonly #sink: LineSink;
  #buffer = Buffer.allocUnsafe(2 * chunkBytes);
  /** What is there already of a line that has not ended. */
  #kept = 0;

  constructor(sink: LineSink) {
    this.#sink = sink;
  }

  /**
   * @param read - reads into the buffer from the offset, and says how many bytes; 0 is the end of the file
   * @returns the same
   */
  fill(read: (buffer: Buffer, offset: number) => number): number {
    const bytes = read(this.#buffer, this.#kept);
    const end = this.#kept + bytes;
    let start = 0;
    for (;;) {
      const found = this.#buffer.indexOf(newline, start);
      if (found < 0 || found >= end) break;
      this.#emit(start, found);
      start = found + 1;
    }
    // The last line of a file need not end with a newline.
    if (bytes === 0 && start < end) {
      this.#emit(start, end);
      start = end;
    }
    this.#buffer.copyWithin(0, start, end);
    this.#kept = end - start;
    if (this.#kept === this.#buffer.length) this.#grow();
    return bytes;
  }

  #emit(start: number, end: number): void {
    const hasReturn = end > start && this.#buffer[end - 1] === carriageReturn;
    this.#sink.line(this.#buffer, start, hasReturn ? end - 1 : end);
  }

  #grow(): void {
    if (this.#buffer.length >= maxLineBytes) {
      throw new LabError("bad-fastq", `a line is longer than ${maxLineBytes} bytes: this is no FASTQ file`);
    }
    const larger = Buffer.allocUnsafe(this.#buffer.length * 2);
    this.#buffer.copy(larger, 0, 0, this.#kept);
    this.#buffer = larger;
  }
}

/** Knows what each of a record's four lines has to be. */
class RecordReader implements LineSink {
  readonly #counts: FastqCounts;
  #line = 0;
  #place = 0;
  #bases = 0;
  /** Blank lines are allowed after the last read only. */
  #firstBlank = 0;

  constructor(counts: FastqCounts) {
    this.#counts = counts;
  }

  line(bytes: Uint8Array, start: number, end: number): void {
    this.#line++;
    if (this.#place === 0) this.#header(bytes, start, end);
    else if (this.#place === 1) this.#sequence(bytes, start, end);
    else if (this.#place === 2) this.#separator(bytes, start, end);
    else this.#qualities(bytes, start, end);
  }

  end(): void {
    if (this.#place === 0) return;
    const next = ["", "its bases", "a line with +", "its qualities"][this.#place];
    throw new LabError("bad-fastq", `line ${this.#line}: the file ends in the middle of a read; ${next} should follow`);
  }

  #header(bytes: Uint8Array, start: number, end: number): void {
    if (start === end) {
      this.#firstBlank ||= this.#line;
      return;
    }
    if (this.#firstBlank > 0) this.#refuse("there is a blank line between reads", this.#firstBlank);
    if (this.#line === 1 && bytes[start] === 0x1f && bytes[start + 1] === 0x8b) {
      this.#refuse("the file is compressed; unpack it first");
    }
    if (bytes[start] !== at) this.#refuse(`a read begins with @, not with ${quoted(bytes[start])}`);
    this.#place = 1;
  }

  #sequence(bytes: Uint8Array, start: number, end: number): void {
    const wrong = this.#counts.addSequence(bytes, start, end);
    if (wrong >= 0) this.#refuse(`${quoted(bytes[start + wrong])} at place ${wrong + 1} is no base`);
    this.#bases = end - start;
    this.#place = 2;
  }

  #separator(bytes: Uint8Array, start: number, end: number): void {
    if (bytes[start] !== plus || start === end) {
      this.#refuse("after its bases, a read goes on with a line that begins with +; its bases are on one line");
    }
    this.#place = 3;
  }

  #qualities(bytes: Uint8Array, start: number, end: number): void {
    if (end - start !== this.#bases) this.#refuse(`${end - start} qualities for ${this.#bases} bases`);
    const wrong = this.#counts.addQualities(bytes, start, end);
    if (wrong >= 0) this.#refuse(`${quoted(bytes[start + wrong])} at place ${wrong + 1} is no quality`);
    this.#place = 0;
  }

  #refuse(what: string, line = this.#line): never {
    throw new LabError("bad-fastq", `line ${line}: ${what}`);
  }
}

function quoted(byte: number | undefined): string {
  if (byte === undefined) return "nothing";
  return byte > 32 && byte < 127 ? `"${String.fromCharCode(byte)}"` : `byte ${byte}`;
}
