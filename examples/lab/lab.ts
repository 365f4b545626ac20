import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { createGateway, type Gateway } from "tailgate";
import { listFiles } from "./data-folder.js";
import { loadPage } from "./page.js";
import { type LabSettings, labSettings } from "./settings.js";
import { workFolder } from "./tasks/analyse-sample.js";
import { labTasks } from "./tasks/definitions.js";

/** What screens see of a sample: `freezer` is missing, so it never leaves the database. */
const sampleFields = [
  "organism",
  "source",
  "state",
  "reads",
  "gc",
  "quality",
  "statistics",
  "reference",
  "created_at",
  "updated_at",
];

const jobFields = [
  "name",
  "sample",
  "runner",
  "state",
  "step",
  "progress",
  "created_at",
  "started_at",
  "updated_at",
  "ended_at",
];

/**
 * The lab: a gateway with two interfaces, five tasks and a page of its own.
 *
 * @returns the gateway, started
 * @throws what `createGateway` throws
 */
export async function startLab(settings: LabSettings = labSettings()): Promise<Gateway> {
  await mkdir(settings.dataFolder, { recursive: true });
  await rm(join(settings.dataFolder, workFolder), { recursive: true, force: true });
  const page = await loadPage();
  const gateway = await createGateway({
    interfaces: {
      samples: { fields: sampleFields, read: true },
      jobs: { fields: jobFields, read: true },
    },
    // The lab is for one person on their own machine: whoever reaches it may use it. The gateway listens on loopback.
    auth: { anonymous: true },
    http: { userAgent: "tailgate-lab/1.0" },
    ...settings.gateway,
    tasks: labTasks(settings),
  });

  gateway.router.get("/", (context) => {
    context.set(page.headers);
    context.type = "html";
    context.body = page.html;
  });
  gateway.router.get("/lab/files", async (context) => {
    context.set("Cache-Control", "no-store");
    context.body = { data: await listFiles(settings.dataFolder) };
  });
  return gateway;
}
