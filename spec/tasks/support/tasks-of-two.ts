// Tasks that leave a trace of every run: which process, in which order.
import { z } from "zod";
import { defineTask } from "../../../src/index.js";
import { sleep } from "../../../src/retry.js";

const allow = (): boolean => true;

/** Notes that it runs, takes its time, and returns the process that ran it. */
export const traced = defineTask({
  name: "traced",
  input: z.object({ n: z.int(), milliseconds: z.int() }),
  where: "main",
  allow,
  async run({ n, milliseconds }, { db, signal, progress }) {
    await db.collection("runs").insertOne({ n, pid: process.pid });
    progress(0.5);
    await sleep(milliseconds, signal);
    signal.throwIfAborted();
    progress(1);
    return { pid: process.pid };
  },
});

/** The same in a process of its own, which ends with the gateway. */
export const computed = defineTask({
  name: "computed",
  input: z.object({ milliseconds: z.int() }),
  where: "process",
  allow,
  async run({ milliseconds }) {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return { parent: process.ppid };
  },
});
