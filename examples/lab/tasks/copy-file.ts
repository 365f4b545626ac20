import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import type { TaskContext } from "tailgate";
import { type DataFile, existingPath, LabError, writablePath } from "../data-folder.js";

const chunkBytes = 1_048_576;

/**
 * Copies a file with calls that block, which is what threads are for. Not with `copyFileSync`, for that says nothing until
 * it is done. The copy appears under its name only when it is complete.
 *
 * @param context - where it is given, told how much is done, from 0 to 1
 * @throws LabError `no-such-file`, `outside-data-folder`, `same-file`, or `file-exists` without `overwrite`
 */
export function copyFile(
  input: { from: DataFile; to: DataFile; overwrite: boolean },
  context?: TaskContext,
): { from: string; to: string; bytes: number } {
  const from = existingPath(input.from);
  refuseLinkedFolders(input.to);
  mkdirSync(dirname(join(input.to.folder, input.to.name)), { recursive: true });
  const to = writablePath(input.to);
  const [source, target] = [statSync(from), statSync(to, { throwIfNoEntry: false })];
  if (target !== undefined) {
    if (target.ino === source.ino && target.dev === source.dev) {
      throw new LabError("same-file", `${input.to.name} is the file itself`);
    }
    if (!target.isFile()) throw new LabError("file-exists", `${input.to.name} is a folder`);
    if (!input.overwrite) throw new LabError("file-exists", `${input.to.name} is there already`);
  }
  const part = `${to}.${process.pid}-${Date.now()}.part`;
  try {
    const bytes = copyChunks(from, part, (done) => context?.progress(done));
    renameSync(part, to);
    return { from: input.from.name, to: input.to.name, bytes };
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

/** A folder is made only below what is there, and what is there may be a link. */
function refuseLinkedFolders(file: DataFile): void {
  const parts = file.name.split("/");
  for (let count = 1; count < parts.length; count++) {
    const name = parts.slice(0, count).join("/");
    const found = statSync(join(file.folder, name), { throwIfNoEntry: false });
    if (found === undefined) return;
    if (!found.isDirectory()) throw new LabError("file-exists", `${name} is a file, not a folder`);
    writablePath({ folder: file.folder, name });
  }
}

function copyChunks(from: string, to: string, progress: (done: number) => void): number {
  const buffer = Buffer.allocUnsafe(chunkBytes);
  const source = openSync(from, "r");
  try {
    const target = openSync(to, "wx");
    try {
      const { size } = fstatSync(source);
      let copied = 0;
      for (;;) {
        const bytes = readSync(source, buffer);
        if (bytes === 0) return copied;
        for (let written = 0; written < bytes; ) written += writeSync(target, buffer, written, bytes - written);
        copied += bytes;
        progress(size === 0 ? 1 : Math.min(1, copied / size));
      }
    } finally {
      closeSync(target);
    }
  } finally {
    closeSync(source);
  }
}
