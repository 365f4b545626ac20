#!/usr/bin/env node
/**
 * A stand-in for `docker`, with an engine that answers: its one container is a stand-in mongod. Its state is a
 * directory, which the environment names.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const home = process.env.STAND_IN_DOCKER ?? "";
const [verb, ...args] = process.argv.slice(2);
const containerFile = join(home, "container.json");
const pidFile = join(home, "pid");
const created = existsSync(containerFile);
const pid = existsSync(pidFile) ? Number(readFileSync(pidFile, "utf8")) : 0;

if (verb === "inspect" && !created) process.exit(1);
if (verb === "inspect") console.log(pid > 0);
if (verb === "create") {
  mkdirSync(join(home, "volume"), { recursive: true });
  writeFileSync(containerFile, JSON.stringify(args));
}
if (verb === "start" && pid === 0) {
  const command = JSON.parse(readFileSync(containerFile, "utf8"));
  const standIn = fileURLToPath(new URL("stand-in-mongod.mjs", import.meta.url));
  const flags = ["--dbpath", join(home, "volume"), "--port", command[command.indexOf("--port") + 1]];
  const child = spawn(process.execPath, [standIn, ...flags], { detached: true, stdio: "ignore" });
  writeFileSync(pidFile, String(child.pid));
  child.unref();
}
if ((verb === "stop" || verb === "rm") && pid > 0) {
  process.kill(pid, "SIGKILL");
  rmSync(pidFile);
}
if (verb === "rm") rmSync(containerFile, { force: true });
if (verb === "volume") rmSync(join(home, "volume"), { recursive: true, force: true });
