import { realpathSync, statSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { z } from "zod";

/** A file of the data folder, as a task's function gets it. */
export interface DataFile {
  readonly folder: string;
  /** Relative, with slashes. */
  readonly name: string;
}

/** Why a task can't do what it was asked to. Its code and message are what the person who started it reads. */
export class LabError extends Error {
  override readonly name = "LabError";

  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Each part begins with a letter or a digit, so no part can be `..`, hidden or empty. */
const safeName = /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)*$/;

/**
 * The schema of an input that names a file, such as `reads.fastq` or `copies/reads.fastq`.
 *
 * @param folder - the data folder; `DataFile` carries it to where the task runs
 */
export function fileName(folder: string) {
  return z
    .string()
    .max(200)
    .regex(safeName, "has to be the name of a file in the data folder, such as reads.fastq or copies/reads.fastq")
    .transform((name): DataFile => ({ folder, name }));
}

/**
 * @returns the path of a file that is there
 * @throws LabError `no-such-file`, also for what is no file; `outside-data-folder` where a link leads out of the folder
 */
export function existingPath(file: DataFile): string {
  const path = join(file.folder, file.name);
  const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  if (!isFile) throw new LabError("no-such-file", `there is no file ${file.name} in the data folder`);
  refuseOutside(file, realpathSync(path));
  return path;
}

/**
 * @returns the path of a file that may be written; its folder has to be there
 * @throws LabError `outside-data-folder` where a link leads out of the folder
 */
export function writablePath(file: DataFile): string {
  const path = join(file.folder, file.name);
  const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined;
  refuseOutside(file, isThere ? realpathSync(path) : join(realpathSync(dirname(path)), "new"));
  return path;
}

function refuseOutside(file: DataFile, realPath: string): void {
  if (realPath.startsWith(realpathSync(file.folder) + sep)) return;
  throw new LabError("outside-data-folder", `${file.name} is a link that leads out of the data folder`);
}

/** The files of the data folder, at most `limit` of them, without logs and what is being written. */
export async function listFiles(folder: string, limit = 200): Promise<{ name: string; bytes: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .filter((name) => safeName.test(name) && !/\.(part|log)$/.test(name))
    .sort()
    .slice(0, limit);
  const files = await Promise.all(
    names.map(async (name) => ({ name, bytes: (await stat(join(folder, name)).catch(() => undefined))?.size })),
  );
  return files.flatMap(({ name, bytes }) => (bytes === undefined ? [] : [{ name, bytes }]));
}
