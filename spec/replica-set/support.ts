import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isOurs, portIsFree } from "../../replica-set/process.mjs";
import type { State } from "../../replica-set/state.mjs";

const script = fileURLToPath(new URL("../../replica-set/replica.mjs", import.meta.url));
const standIns = fileURLToPath(new URL(".", import.meta.url));

export interface Outcome {
  code: number | null;
  output: string;
  errors: string;
  lines: string[];
}

/** A directory of its own for one replica set, and the command on it. */
export class Workshop {
  readonly directory: string;
  readonly port: number;
  env: NodeJS.ProcessEnv;

  private constructor(directory: string, port: number) {
    this.directory = directory;
    this.port = port;
    const { MONGODB_URI: _uri, TAILGATE_REPLICA: _way, NODE_OPTIONS: _options, ...rest } = process.env;
    this.env = { ...rest, REPLICA_DIR: join(directory, "state"), REPLICA_PORT: String(port) };
  }

  static async open(): Promise<Workshop> {
    return new Workshop(await mkdtemp(join(tmpdir(), "replica-set-spec-")), await threeFreePorts());
  }

  /** Leaves no process and no file behind. */
  async close(): Promise<void> {
    const state = await this.state().catch(() => undefined);
    // Killed rather than stopped: what it would write on its way out is deleted anyway.
    for (const pid of state?.pids ?? []) if (await isOurs(pid, this.directory)) process.kill(pid, "SIGKILL");
    if (state?.container) await this.replica("reset");
    await rm(this.directory, { recursive: true, force: true });
  }

  async replica(command: string, env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
    const child = spawn(process.execPath, [script, command], { env: { ...this.env, ...env } });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    await once(child, "close");
    return { code: child.exitCode, output, errors, lines: output.trimEnd().split("\n") };
  }

  async state(): Promise<State> {
    return JSON.parse(await readFile(join(this.directory, "state", "state.json"), "utf8"));
  }

  /** PATH becomes a directory with nothing but Node and these programs. */
  async onlyOnPath(programs: Record<string, string>): Promise<void> {
    const bin = join(this.directory, "bin");
    await rm(bin, { recursive: true, force: true });
    await mkdir(bin);
    await symlink(process.execPath, join(bin, "node"));
    for (const [name, content] of Object.entries(programs)) {
      await writeFile(join(bin, name), content);
      await chmod(join(bin, name), 0o755);
    }
    this.env.PATH = bin;
  }

  /** No host can be reached, as on a machine without a network. */
  withoutNetwork(): void {
    const code = 'globalThis.fetch=async()=>{throw new TypeError("fetch failed",{cause:{code:"ENOTFOUND"}})}';
    this.env.NODE_OPTIONS = `--import=data:text/javascript,${encodeURIComponent(code)}`;
  }
}

/** A program for {@link Workshop.onlyOnPath} that runs one of the stand-ins beside this file. */
export function standIn(name: "mongod" | "docker"): string {
  return `#!/bin/sh\nexec node ${JSON.stringify(join(standIns, `stand-in-${name}.mjs`))} "$@"\n`;
}

async function threeFreePorts(): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const free = await Promise.all([first, first + 1, first + 2].map(portIsFree));
    if (free.every(Boolean)) return first;
  }
}
