import { dirname } from "node:path";
import { findOnPath, run } from "../process.mjs";
import { Unavailable } from "../trouble.mjs";
import { threeNodes } from "./nodes.mjs";

/** @type {import("./way.mjs").Way} */
export const mongodOnPath = {
  name: "mongod",
  title: "mongod on PATH",
  async prepare(job) {
    const file = await findOnPath("mongod");
    if (!file) throw new Unavailable("not found");
    return threeNodes(job, dirname(file), await serverOf(file));
  },
};

/**
 * @param {string} file - a mongod
 * @returns {Promise<string>} name and version, for people
 * @throws {Unavailable} where it can't be run, for instance for want of a library
 */
export async function serverOf(file) {
  const { code, output, errors } = await run(file, ["--version"], { timeoutMs: 10_000 });
  const version = /db version v(\S+)/.exec(output)?.[1];
  if (code === 0 && version) return `MongoDB ${version} (three nodes)`;
  throw new Unavailable(`${file} can't be run: ${(errors || output).trim().split("\n")[0] || `exit code ${code}`}`);
}
