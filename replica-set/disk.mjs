import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";

/**
 * @param {string} path
 * @returns {Promise<number>} bytes of all files below it; 0 where there is nothing
 */
export async function directorySize(path) {
  try {
    const found = await lstat(path);
    if (!found.isDirectory()) return found.size;
    const sizes = await Promise.all((await readdir(path)).map((name) => directorySize(join(path, name))));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch (error) {
    // A running server makes and deletes files meanwhile.
    if (/** @type {NodeJS.ErrnoException} */ (error).code === "ENOENT") return 0;
    throw error;
  }
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return `${(bytes / 1_048_576).toFixed(1)} MB`;
}
