import type { Writable } from "node:stream";

/** Standard output as a place for lines that a slow or vanished reader can't hurt. */
export interface Lines {
  /** @returns false when the reader is behind: write no more before `drained`. */
  write(line: string): boolean;
  /** Calls back once, when the reader has caught up. */
  onceDrained(listener: () => void): void;
}

/**
 * @param stream - where the lines go
 * @param ended - called when the reader is gone, with the error unless it just stopped reading, as `head` does
 */
export function createLines(stream: Writable, ended: (error?: Error) => void): Lines {
  stream.on("error", (error: NodeJS.ErrnoException) => ended(error.code === "EPIPE" ? undefined : error));
  return {
    write: (line) => stream.write(`${line}\n`),
    onceDrained: (listener) => stream.once("drain", listener),
  };
}
