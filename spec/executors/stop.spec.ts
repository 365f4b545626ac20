import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { createExecutors } from "../../src/executors/pools.js";
import { eventually, isAlive, kinds, looping, rejection, started, stopAll } from "./support.js";

function threadCount(): number {
  return readdirSync("/proc/self/task").length;
}

for (const kind of kinds) {
  describe(`Stopping executors with ${kind}`, () => {
    afterEach(stopAll);

    it("rejects calls that run and calls that wait with a coded error", async () => {
      const executors = await started({ [kind]: { max: 1 } });
      const { call } = await looping(executors[kind]);
      const waiting = executors[kind].run(() => 1, []);
      const outcomes = Promise.all([rejection(call), rejection(waiting)]);
      await executors.stop();
      for (const error of await outcomes) {
        expect(error).to.include({ name: "ExecutorStoppedError", code: "executor-stopped" });
      }
    });

    it("rejects a call whose worker is only starting", async () => {
      const executors = await started();
      const call = rejection(executors[kind].run(() => 1, []));
      await executors.stop();
      expect(await call).to.include({ code: "executor-stopped" });
      expect(executors[kind].stats()).to.deep.equal({ running: 0, waiting: 0, workers: 0 });
    });

    it("refuses calls before start and after stop", async () => {
      const executors = createExecutors();
      expect(await rejection(executors[kind].run(() => 1, []))).to.include({ code: "executor-stopped" });
      await executors.start(new AbortController().signal);
      expect(await executors[kind].run(() => 1, [])).to.equal(1);
      await executors.stop();
      expect(await rejection(executors[kind].run(() => 1, []))).to.include({ code: "executor-stopped" });
    });
  });
}

describe("Stopping executors", () => {
  afterEach(stopAll);

  it("leaves no process behind, whether idle, busy, crashed or stubborn", async () => {
    const executors = await started({ processes: { max: 3 } });
    const stubborn = (context: { progress(value: number): void }) => {
      process.on("SIGTERM", () => {});
      context.progress(process.pid);
      for (;;);
    };
    const pids: number[] = [];
    const busy = await looping(executors.processes);
    const stuck = rejection(executors.processes.run(stubborn, [], { onProgress: (pid: number) => pids.push(pid) }));
    await eventually(() => pids.length === 1);
    await rejection(executors.processes.run(() => process.exit(1), []));
    const idle = await executors.processes.run(() => process.pid, []);
    pids.push(busy.pid, idle);
    expect(pids.filter(isAlive)).to.have.length(3);
    await Promise.all([executors.stop(), rejection(busy.call), stuck]);
    expect(pids.filter(isAlive)).to.deep.equal([]);
  });

  it("ends a worker that a function has left busy", async () => {
    const executors = await started();
    const leaveLoop = () => {
      setTimeout(() => {
        for (;;);
      }, 0);
      return process.pid;
    };
    const pid = await executors.runInProcess(leaveLoop);
    await executors.runInThread(leaveLoop);
    await executors.stop();
    expect(isAlive(pid)).to.equal(false);
  });

  it("leaves no thread behind, whether idle, busy or crashed", async function () {
    if (!existsSync("/proc/self/task")) this.skip();
    // Node makes threads of its own on first use, which stay.
    for (let round = 0, before = 0; round < 2; round++) {
      const executors = await started({ threads: { max: 3 } });
      const busy = await looping(executors.threads);
      await rejection(executors.threads.run(() => process.exit(1), []));
      await executors.threads.run(() => 1, []);
      if (round > 0) expect(threadCount()).to.be.above(before);
      await Promise.all([executors.stop(), rejection(busy.call)]);
      // The system counts a thread for a moment after it has ended.
      if (round > 0) await eventually(() => threadCount() <= before);
      else await sleep(200);
      before = threadCount();
    }
  });

  it("returns the same promise when called twice, and works without any call or start", async () => {
    const executors = await started();
    expect(executors.stop()).to.equal(executors.stop());
    await executors.stop();
    await createExecutors().stop();
  });

  it("is not needed by a process that exits at once: its busy workers end with it", async () => {
    const program = `
      import { createExecutors } from ${JSON.stringify(new URL("../../src/executors/pools.ts", import.meta.url).href)};
      const executors = createExecutors();
      await executors.start(new AbortController().signal);
      executors.processes.run((context) => { context.progress(process.pid); for (;;); }, [], {
        onProgress(pid) { process.stdout.write(String(pid), () => process.exit(7)); },
      }).catch(() => {});`;
    const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let out = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    const [code] = await once(child, "close");
    expect(code).to.equal(7);
    expect(Number(out)).to.be.above(1);
    await eventually(() => !isAlive(Number(out)));
  });
});
