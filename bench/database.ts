import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface BenchDatabase {
  /** The URI of one of its databases, by the database's name. */
  uriOf(name: string): string;
  stop(): Promise<void>;
}

/**
 * What is named in MONGODB_URI, or else a server of the benchmark's own in a temporary folder.
 *
 * @param log - hears of an installation, line by line
 */
export async function openDatabase(log: (line: string) => void): Promise<BenchDatabase> {
  const given = process.env.MONGODB_URI;
  if (given !== undefined && given !== "") return { uriOf: (name) => withName(given, name), stop: async () => {} };
  const { startSecantus } = await import("../replica-set/secantus.mjs");
  const storagePath = mkdtempSync(join(tmpdir(), "tailgate-bench-data-"));
  // Nothing here has to survive the machine, so writes need not wait for the disk.
  const server = await startSecantus({ storagePath, syncOnCommit: false, log });
  return {
    uriOf: server.uri,
    async stop() {
      await server.stop();
      for (const path of [storagePath, server.logFile]) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Replaces the database in a MongoDB URI. The URL class would refuse one with several hosts. */
function withName(uri: string, name: string): string {
  const match = /^(mongodb(?:\+srv)?:\/\/[^/?]+)(?:\/[^?]*)?(\?.*)?$/.exec(uri);
  if (match === null) throw new Error("MONGODB_URI is not a MongoDB URI");
  return `${match[1]}/${name}${match[2] ?? ""}`;
}
