import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect } from "chai";

const execute = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
const fixtures = join(root, "spec/executors/fixtures");
const results = [{ count: 3, mean: 3 }, { count: 3, mean: 3 }, "THREAD", "PROCESS"];

// As a user's shell would start it: without the loader that this spec itself runs under.
async function run(args: string[], cwd = root): Promise<unknown> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { stdout } = await execute(process.execPath, args, { cwd, env });
  return JSON.parse(stdout);
}

describe("Functions of TypeScript modules in both executors", () => {
  let built: string;

  before(async function () {
    this.timeout(60_000);
    built = await mkdtemp(join(tmpdir(), "executors-"));
    await writeFile(join(built, "package.json"), '{ "type": "module" }');
    await symlink(join(root, "node_modules"), join(built, "node_modules"));
    const project = {
      extends: join(root, "tsconfig.build.json"),
      compilerOptions: { rootDir: root, outDir: built, typeRoots: [join(root, "node_modules/@types")] },
      include: [join(root, "src/executors"), fixtures],
    };
    await writeFile(join(built, "tsconfig.json"), JSON.stringify(project));
    await execute(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", built]);
    expect(await readdir(join(built, "src/executors"))).to.include("worker.js");
  });

  after(async () => {
    await rm(built, { recursive: true });
  });

  it("run in development, with tsx given to node", async () => {
    expect(await run(["--import", "tsx", join(fixtures, "program.ts")])).to.deep.equal(results);
  });

  it("run in development, with the command tsx", async () => {
    const tsx = join(root, "node_modules/tsx/dist/cli.mjs");
    expect(await run([tsx, join(fixtures, "program.ts")])).to.deep.equal(results);
  });

  it("run after the build, on plain Node", async () => {
    expect(await run([join(built, "spec/executors/fixtures/program.js")], built)).to.deep.equal(results);
  });

  it("run where an application is TypeScript under tsx and the gateway is built", async () => {
    const application = join(built, "an/application/here");
    await mkdir(application, { recursive: true });
    for (const file of ["program.ts", "statistics.ts", "mean.ts"])
      await cp(join(fixtures, file), join(application, file));
    expect(await run(["--import", "tsx", join(application, "program.ts")], built)).to.deep.equal(results);
  });
});
