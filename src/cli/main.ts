#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { exitCodes } from "../errors.js";
import { redact } from "../log.js";
import { version } from "../version.js";
import { addDoctor } from "./doctor.js";
import { reportFailure } from "./failure.js";
import { addServe } from "./serve.js";
import { addTail } from "./tail.js";
import { addToken } from "./token.js";

const commands = [addServe, addTail, addDoctor, addToken];

const program = new Command("tailgate")
  .description("The realtime gateway for MongoDB: any program writes, every connected screen follows.")
  .version(version)
  .showHelpAfterError("(--help lists what there is)")
  .showSuggestionAfterError()
  .configureOutput({ outputError: (text, write) => write(redact(text)) })
  .exitOverride()
  // A command line can hold a password or a token, and every user of the machine may read it: a title takes its place.
  .hook("preAction", (_program, command) => {
    process.title = `tailgate ${command.name()}`;
  });
for (const add of commands) add(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are asked for; all else of commander's is a command line that it can't read.
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  } else {
    process.exitCode = reportFailure(error);
  }
}
