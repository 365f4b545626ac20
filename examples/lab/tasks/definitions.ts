import { defineTask, exported } from "tailgate";
import { z } from "zod";
import { fileName } from "../data-folder.js";
import type { LabSettings } from "../settings.js";
import { analyseSample } from "./analyse-sample.js";
import type { copyFile } from "./copy-file.js";
import { fetchRecord, fetchRecordInput } from "./fetch-record.js";
import type { generateStatistics } from "./generate-statistics.js";
import { latestRelease, latestReleaseInput } from "./latest-release.js";

/**
 * The lab's tasks, one for each place where a task can run: what blocks goes to a thread, what computes to a process, what
 * only waits stays on the main thread.
 */
export function labTasks(settings: LabSettings) {
  const file = fileName(settings.dataFolder);
  const allow = () => true;
  return [
    defineTask({
      name: "copy-file",
      input: z.strictObject({ from: file, to: file, overwrite: z.boolean().default(false) }),
      where: "thread",
      allow,
      run: exported<typeof copyFile>(import.meta.resolve("./copy-file.js"), "copyFile"),
    }),
    defineTask({
      name: "generate-statistics",
      input: z.strictObject({ file }),
      where: "process",
      allow,
      run: exported<typeof generateStatistics>(import.meta.resolve("./generate-statistics.js"), "generateStatistics"),
    }),
    defineTask({
      name: "analyse-sample",
      input: z.strictObject({ sample: z.string().min(1).max(100), file }),
      where: "main",
      allow,
      run: analyseSample,
    }),
    defineTask({
      name: "latest-release",
      input: latestReleaseInput,
      where: "main",
      allow,
      run: (input, context) => latestRelease(input, context, settings.githubUrl),
    }),
    defineTask({
      name: "fetch-record",
      input: fetchRecordInput,
      where: "main",
      allow,
      run: (input, context) => fetchRecord(input, context, { url: settings.ncbiUrl, email: settings.ncbiEmail }),
    }),
  ];
}
