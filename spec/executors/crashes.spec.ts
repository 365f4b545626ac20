import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import type { Executors } from "../../src/executors/pools.js";
import { eventually, isAlive, kinds, looping, rejection, shared, started, stopAll } from "./support.js";

for (const kind of kinds) {
  describe(`A worker that dies in ${kind} (hazard 41)`, () => {
    afterEach(stopAll);

    let executors: Executors;
    let alone: Executors;
    before(async () => {
      executors = await shared({ [kind]: { max: 2, memoryMegabytes: 48 } });
      alone = await shared({ [kind]: { max: 1 } });
    });
    after(() => Promise.all([executors.stop(), alone.stop()]));

    const crashes: Record<string, { fn: () => unknown; reason: RegExp }> = {
      "by process.exit": { fn: () => process.exit(3), reason: /exit code 3/ },
      "by process.exit(0)": { fn: () => process.exit(0), reason: /exit code 0/ },
      "by an unhandled rejection": {
        fn: async () => {
          Promise.reject(new TypeError("lost"));
          await new Promise(() => {});
        },
        reason: /TypeError: lost/,
      },
      "by an unhandled rejection with no error": {
        fn: async () => {
          Promise.reject("text");
          await new Promise(() => {});
        },
        reason: /text/,
      },
      "by an error in a callback": {
        fn: () =>
          new Promise(() => {
            setImmediate(() => {
              throw new RangeError("in a callback");
            });
          }),
        reason: /RangeError: in a callback/,
      },
      "by running out of memory": {
        fn: async () => {
          const { closeSync } = await import("node:fs");
          // A process writes pages about its end, which belong in no spec's output.
          if (typeof process.send === "function") closeSync(2);
          const kept: unknown[] = [];
          for (;;) kept.push(new Array(10_000).fill(kept.length));
        },
        reason: kind === "threads" ? /memory limit/ : /SIGABRT|SIGTRAP|exit code/,
      },
    };
    for (const [how, { fn, reason }] of Object.entries(crashes)) {
      it(`${how} fails its own call only, and those that wait and run go on`, async () => {
        const neighbour = executors[kind].run(
          (context: { progress(value: number): void }) =>
            new Promise<string>((resolve) => {
              context.progress(1);
              setTimeout(resolve, 300, "neighbour");
            }),
          [],
          { onProgress() {} },
        );
        const crashing = rejection(executors[kind].run(fn, []));
        const waiting = [1, 2, 3].map((n) => executors[kind].run((value: number) => value, [n]));
        const error = await crashing;
        expect(error).to.include({ name: "WorkerCrashedError", code: "worker-crashed" });
        expect((error as Error & { reason: string }).reason).to.match(reason);
        expect(error.message).to.match(reason);
        expect(await Promise.all(waiting)).to.deep.equal([1, 2, 3]);
        expect(await neighbour).to.equal("neighbour");
      });
    }

    it("does not keep the calls behind it waiting where it was the only one", async () => {
      const outcomes = [0, 1, 2, 3, 4, 5].map((n) =>
        alone[kind]
          .run((value: number) => (value % 2 === 0 ? process.exit(1) : value), [n])
          .catch((error: { code: string }) => error.code),
      );
      const crashed = "worker-crashed";
      expect(await Promise.all(outcomes)).to.deep.equal([crashed, 1, crashed, 3, crashed, 5]);
    });

    it("has run its call exactly once", async () => {
      const directory = await mkdtemp(join(tmpdir(), "executors-"));
      const file = join(directory, "runs");
      await writeFile(file, "");
      const crash = async (path: string) => {
        const { appendFileSync } = await import("node:fs");
        appendFileSync(path, "x");
        process.exit(1);
      };
      await Promise.all(Array.from({ length: 6 }, () => rejection(executors[kind].run(crash, [file]))));
      expect(await readFile(file, "utf8")).to.equal("x".repeat(6));
      await rm(directory, { recursive: true });
    });

    it("between two calls fails neither", async () => {
      for (let round = 0; round < 5; round++) {
        const last = await alone[kind].run(
          (n: number) => {
            setTimeout(() => process.exit(1), 0);
            return n;
          },
          [round],
        );
        expect(last).to.equal(round);
        if (round % 2 === 0) await eventually(() => alone[kind].stats().workers === 0);
      }
    });

    it("is replaced again and again", async () => {
      for (let round = 0; round < 3; round++) {
        await Promise.all([1, 2, 3].map(() => rejection(executors[kind].run(() => process.exit(1), []))));
      }
      expect(await executors[kind].run(() => "fine", [])).to.equal("fine");
      expect(executors[kind].stats().workers).to.be.at.most(2);
    });
  });
}

describe("A worker process", () => {
  afterEach(stopAll);

  it("that is killed from outside fails its call with the signal's name", async () => {
    const executors = await started();
    const { pid, call } = await looping(executors.processes);
    process.kill(pid, "SIGKILL");
    expect(await rejection(call)).to.include({ code: "worker-crashed", reason: "signal SIGKILL" });
  });

  it("that is killed while it idles is replaced without a failed call", async () => {
    const executors = await started({ processes: { max: 1 } });
    const pids = new Set<number>();
    for (let round = 0; round < 5; round++) {
      const pid = await executors.processes.run(() => process.pid, []);
      pids.add(pid);
      process.kill(pid, "SIGKILL");
    }
    expect(pids.size).to.equal(5);
    await eventually(() => [...pids].every((pid) => !isAlive(pid)));
  });

  it("ignores the signals that a terminal or a service manager sends to the whole group", async () => {
    const executors = await started({ processes: { max: 1 } });
    const all = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    const call = executors.processes.run(
      async (context: { progress(value: number): void }) => {
        context.progress(process.pid);
        await new Promise((resolve) => setTimeout(resolve, 100));
        return process.pid;
      },
      [],
      {
        onProgress(pid: number) {
          for (const signal of all) process.kill(pid, signal);
        },
      },
    );
    const pid = await call;
    for (const signal of all) process.kill(pid, signal);
    expect(await executors.processes.run(() => process.pid, [])).to.equal(pid);
  });
});
