import { type Environment, type Flags, loadSettings } from "../config/load.js";
import type { InterfaceSettings, Settings } from "../config/settings.js";
import { createDatabase } from "../database.js";
import { ConfigurationError, exitCodes, TailgateError } from "../errors.js";
import { createLog } from "../log.js";
import { tasksInterface } from "../tasks/document.js";
import { collectionFindings } from "./collections.js";
import { configurationFindings } from "./configuration.js";
import { type Finding, messageOf } from "./finding.js";
import { oplogFindings } from "./oplog.js";
import { portFindings } from "./port.js";
import { binaryFindings, nodeFindings, thisRuntime } from "./runtime.js";
import { notAReplicaSetFinding, serverFindings, unreachableFinding } from "./server.js";

export interface Diagnosis {
  readonly findings: readonly Finding[];
  /** 78 for a bad configuration, else 69 for a database that can't be reached, else 1 for any other problem, else 0. */
  readonly exitCode: number;
}

/**
 * Looks at everything that the gateway depends on. It writes nothing, and starts no gateway.
 *
 * @param options.startTimeoutMilliseconds - how long the database may take to answer
 */
export async function diagnose(options: {
  flags?: Flags;
  environment?: Environment;
  workingDirectory?: string;
  startTimeoutMilliseconds: number;
}): Promise<Diagnosis> {
  const runtime = thisRuntime();
  const findings: Finding[] = [...nodeFindings(runtime), ...binaryFindings(runtime)];
  let settings: Settings;
  try {
    settings = await loadSettings(options);
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    findings.push(badConfiguration(error));
    return { findings, exitCode: exitCodes.configuration };
  }
  findings.push(...configurationFindings(settings), ...(await portFindings(settings)));
  const { reached, found } = await databaseFindings(settings, options.startTimeoutMilliseconds);
  findings.push(...found);
  if (!reached) return { findings, exitCode: exitCodes.unavailable };
  const isProblem = findings.some(({ level }) => level === "problem");
  return { findings, exitCode: isProblem ? exitCodes.failure : exitCodes.ok };
}

function badConfiguration(error: ConfigurationError): Finding {
  return {
    area: "configuration",
    level: "problem",
    what: error.message,
    consequence: "the gateway can't start; the database was not looked at",
    fix: "correct what is named above; docs/configuration.md has every key",
  };
}

async function databaseFindings(
  settings: Settings,
  startTimeoutMilliseconds: number,
): Promise<{ reached: boolean; found: Finding[] }> {
  const uri = settings.mongodbUri;
  const database = createDatabase({ uri, log: createLog("silent"), startTimeoutMilliseconds });
  try {
    try {
      await database.start(new AbortController().signal);
    } catch (error) {
      const isAlone = error instanceof TailgateError && error.code === "not-a-replica-set";
      if (isAlone) return { reached: true, found: [notAReplicaSetFinding] };
      return { reached: false, found: [await unreachableFinding(error, uri)] };
    }
    const found: Finding[] = [];
    const checks = [
      () => serverFindings(database),
      () => collectionFindings(database, servedInterfaces(settings)),
      () => oplogFindings(database),
    ];
    for (const check of checks) {
      try {
        found.push(...(await check()));
      } catch (error) {
        // A check that fails has found something too, and the others go on.
        found.push(failedCheck(error));
      }
    }
    return { reached: true, found };
  } finally {
    await database.stop();
  }
}

/** Those that are configured, and the tasks' where there are any: the gateway writes that collection itself. */
function servedInterfaces(settings: Settings): InterfaceSettings[] {
  const configured = [...settings.interfaces.values()];
  if (settings.taskDefinitions.length === 0) return configured;
  const { jwt, sessions } = settings.auth;
  const areUsersKnown = jwt !== undefined || sessions !== undefined;
  const read = { user: areUsersKnown ? "$user.sub" : null };
  const tasks = { ...tasksInterface(settings.auth), read, write: true };
  return [...configured, tasks];
}

function failedCheck(error: unknown): Finding {
  return {
    area: "database",
    level: "problem",
    what: `a check of the database failed: ${messageOf(error)}`,
    consequence: "whether the gateway can serve is not known",
    fix: "run `tailgate doctor` again; if it fails again, the text says what the server refuses",
  };
}
