#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { exitCodeOf, exitCodes } from "../errors.js";
import { version } from "../version.js";
import { addServe } from "./serve.js";

const program = new Command("tailgate")
  .description("The realtime gateway for MongoDB: any program writes, every connected screen follows.")
  .version(version)
  .showHelpAfterError()
  .exitOverride();
addServe(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are asked for; all else of commander's is a command line that it can't read.
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  } else {
    process.stderr.write(`tailgate: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
}
