import { type Command, InvalidArgumentError } from "commander";
import type { Flags } from "../config/load.js";

/** What the command line says about the gateway's settings and its start. */
export interface StartFlags extends Flags {
  /** In seconds. */
  readonly startTimeout: number;
}

/** Adds the flags that stand for settings; flag over environment over file over default. */
export function addSettingsOptions(command: Command): Command {
  return command
    .option("-c, --config <file>", "configuration file: .yaml, .json or a module")
    .option("--mongo <uri>", "the database, with its name in the path (a password is safer in MONGODB_URI)")
    .option("--host <address>", "where to listen")
    .option("--port <number>", "where to listen")
    .option("--log-level <level>", "fatal, error, warn, info, debug, trace or silent");
}

/** @param seconds - how long the database may take to answer where the command line says nothing */
export function addStartTimeout(command: Command, seconds: number): Command {
  return command.option("--start-timeout <seconds>", "how long to wait for the database", positiveSeconds, seconds);
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function positiveSeconds(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  // A day: the longest that timers take is some 24 of them, and no start needs as much.
  if (seconds > 0 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError("It is a number of seconds above 0, such as 30.");
}
