import { exitCodeOf } from "../errors.js";
import { redact } from "../log.js";

/**
 * Says on standard error, for a person, why the command ends.
 *
 * @param error - what was thrown
 * @returns the exit code for it
 */
export function reportFailure(error: unknown): number {
  note(error instanceof Error ? error.message : String(error));
  return exitCodeOf(error);
}

/** A line for the person at the terminal; standard output belongs to data. */
export function note(text: string): void {
  process.stderr.write(`tailgate: ${redact(text)}\n`);
}
