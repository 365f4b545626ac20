import { styleText } from "node:util";
import type { Command } from "commander";
import { diagnose } from "../doctor/diagnosis.js";
import { areas, type Finding, type Level } from "../doctor/finding.js";
import { redact } from "../log.js";
import { version } from "../version.js";
import { addSettingsOptions, addStartTimeout, type StartFlags } from "./options.js";

interface DoctorFlags extends StartFlags {
  readonly json?: boolean;
}

export function addDoctor(program: Command): void {
  const command = program
    .command("doctor")
    .description("say what is wrong with Node.js, the binary, the database and the configuration, and how to mend it")
    .option("--json", "print one JSON object instead of text");
  addStartTimeout(addSettingsOptions(command), 10).action(doctor);
}

async function doctor({ json = false, startTimeout, ...flags }: DoctorFlags): Promise<void> {
  const { findings, exitCode } = await diagnose({ flags, startTimeoutMilliseconds: startTimeout * 1_000 });
  const report = json
    ? JSON.stringify({ version, exitCode, findings })
    : describe(findings, process.stdout.isTTY === true && !process.env.NO_COLOR);
  process.exitCode = exitCode;
  // Exits by itself once this is written and what the checks opened has closed.
  process.stdout.on("error", () => process.exit(exitCode)).write(`${redact(report)}\n`);
}

const titles = {
  node: "Node.js",
  uwebsockets: "uWebSockets",
  configuration: "Configuration",
  port: "Listener",
  database: "Database",
  collections: "Collections",
  oplog: "Oplog",
} as const;

const colors = { ok: "green", note: "cyan", warning: "yellow", problem: "red" } as const satisfies Record<
  Level,
  string
>;

function describe(findings: readonly Finding[], colored: boolean): string {
  const lines = [`tailgate ${version}`];
  for (const area of areas) {
    const found = findings.filter((finding) => finding.area === area);
    if (found.length > 0) lines.push("", titles[area], ...found.flatMap((finding) => linesOf(finding, colored)));
  }
  return [...lines, "", verdict(findings)].join("\n");
}

function linesOf({ level, what, consequence, fix }: Finding, colored: boolean): string[] {
  const label = level.padEnd(7);
  const indent = " ".repeat(2 + label.length + 2);
  const [first, ...more] = what.split("\n");
  return [
    `  ${colored ? styleText(colors[level], label) : label}  ${first}`,
    ...more.map((line) => `${indent}${line}`),
    ...(consequence === undefined ? [] : [`${indent}therefore: ${consequence}`]),
    ...(fix === undefined ? [] : [`${indent}fix: ${fix}`]),
  ];
}

function verdict(findings: readonly Finding[]): string {
  const count = (level: Level): number => findings.filter((finding) => finding.level === level).length;
  const counted = (["problem", "warning", "note"] as const)
    .filter((level) => count(level) > 0)
    .map((level) => `${count(level)} ${level}${count(level) === 1 ? "" : "s"}`);
  const promise =
    count("problem") === 0 ? "The gateway can keep its promises." : "The gateway can't keep its promises.";
  return counted.length === 0 ? promise : `${promise} ${counted.join(", ")}.`;
}
