import { getEventListeners } from "node:events";
import { expect } from "chai";
import { exported } from "../../src/executors/exported.js";
import type { Executors } from "../../src/executors/pools.js";
import { progressBurst, progressPerSecond } from "../../src/executors/worker-progress.js";
import type { generateSlowly } from "./fixtures/statistics.js";
import { eventually, isAlive, kinds, looping, rejection, shared, started, stopAll } from "./support.js";

for (const kind of kinds) {
  describe(`Limits of calls in ${kind}`, () => {
    afterEach(stopAll);

    let executors: Executors;
    before(async () => {
      executors = await shared({ [kind]: { max: 1 }, queue: 2 });
    });
    after(() => executors.stop());

    it("reject an aborted call with an AbortError, end its worker and replace that", async () => {
      const abort = new AbortController();
      const { pid, call } = await looping(executors[kind], { signal: abort.signal });
      abort.abort();
      expect(await rejection(call)).to.include({ name: "AbortError" });
      expect(await executors[kind].run(() => "next", [])).to.equal("next");
      if (kind === "processes") await eventually(() => !isAlive(pid));
      expect(executors[kind].stats().workers).to.equal(1);
    });

    it("reject with the signal's own reason, also before the call has begun, and leave no listener", async () => {
      const reason = new Error("enough");
      const before = AbortSignal.abort(reason);
      expect(await rejection(executors[kind].run(() => 1, [], { signal: before }))).to.equal(reason);
      const abort = new AbortController();
      const { signal } = abort;
      const first = executors[kind].run(() => "first", [], { signal: new AbortController().signal });
      const waiting = executors[kind].run(() => 1, [], { signal });
      expect(executors[kind].stats()).to.include({ running: 1, waiting: 1 });
      abort.abort(reason);
      expect(executors[kind].stats()).to.include({ running: 1, waiting: 0 });
      expect(await rejection(waiting)).to.equal(reason);
      expect(await first).to.equal("first");
      expect(getEventListeners(signal, "abort")).to.have.length(0);
    });

    it("abort a call whose worker is only starting, without ever running it for long", async () => {
      const abort = new AbortController();
      const call = executors[kind].run(
        () => {
          for (;;);
        },
        [],
        { signal: abort.signal },
      );
      abort.abort();
      expect(await rejection(call)).to.include({ name: "AbortError" });
      expect(await executors[kind].run(() => "next", [])).to.equal("next");
    });

    it("leave no listener on the signal of a call that is done", async () => {
      const { signal } = new AbortController();
      await executors[kind].run(() => 1, [], { signal });
      await rejection(executors[kind].run(() => Promise.reject(new Error("no")), [], { signal }));
      expect(getEventListeners(signal, "abort")).to.have.length(0);
    });

    it("end a call that runs too long (hazard 41)", async () => {
      const { pid, call } = await looping(executors[kind], { timeoutMilliseconds: 500 });
      const error = await rejection(call);
      expect(error).to.include({ name: "ExecutorTimeoutError", code: "executor-timeout", timeoutMilliseconds: 500 });
      expect(await executors[kind].run(() => "next", [])).to.equal("next");
      if (kind === "processes") await eventually(() => !isAlive(pid));
    });

    it("take the timeout of all calls where the call has none", async () => {
      const executors = await started({ timeoutMilliseconds: 500 });
      expect(await rejection((await looping(executors[kind])).call)).to.include({ code: "executor-timeout" });
    });

    it("count only the time that a call runs, not its wait and not the start of its worker", async () => {
      const sleepABit = () => new Promise<string>((resolve) => setTimeout(resolve, 400, "done"));
      const calls = [1, 2, 3].map(() => executors[kind].run(sleepABit, [], { timeoutMilliseconds: 1_100 }));
      expect(await Promise.all(calls)).to.deep.equal(Array(3).fill("done"));
    });

    it("end a process that defends itself against signals", async () => {
      const stubborn = () => {
        process.on("SIGTERM", () => {});
        for (;;);
      };
      const call = executors[kind].run(stubborn, [], { timeoutMilliseconds: 50 });
      expect(await rejection(call)).to.include({ code: "executor-timeout" });
      expect(await executors[kind].run(() => "next", [])).to.equal("next");
    });

    it("hand progress to the caller while the function blocks its worker, in order, before the result", async () => {
      const seen: unknown[] = [];
      const result = await executors[kind].run(
        (steps: number, context: { progress(value: { step: number; at: bigint }): void }) => {
          for (let step = 1; step <= steps; step++) context.progress({ step, at: process.hrtime.bigint() });
          const end = Date.now() + 50;
          while (Date.now() < end);
          return "done";
        },
        [3],
        { onProgress: ({ step, at }) => seen.push([step, typeof at]) },
      );
      expect(result).to.equal("done");
      expect(seen).to.deep.equal([1, 2, 3].map((step) => [step, "bigint"]));
      // That it arrives while the worker blocks is what every spec with `looping` relies on.
      const abort = new AbortController();
      const { call } = await looping(executors[kind], { signal: abort.signal });
      abort.abort();
      await rejection(call);
    });

    it("hand progress of an exported function to the caller", async () => {
      const seen: number[] = [];
      const slowly = exported<typeof generateSlowly>(
        new URL("./fixtures/statistics.js", import.meta.url).href,
        "generateSlowly",
      );
      const result = await executors[kind].run(slowly, [[2, 4]], { onProgress: (part: number) => seen.push(part) });
      expect(result.mean).to.equal(3);
      expect(seen).to.deep.equal([0.5, 1]);
    });

    it("hand over the first values of a flood of progress, then the newest now and then, and the last", async () => {
      const seen: number[] = [];
      const { reported, seconds } = await executors[kind].run(
        (context: { progress(value: { step: number }): void }) => {
          const value = { step: 0 };
          const began = performance.now();
          const passed = () => (performance.now() - began) / 1000;
          for (; passed() < 0.5; value.step++) context.progress(value);
          const outcome = { reported: value.step, seconds: passed() };
          value.step = -1; // what was handed over is what it was then
          return outcome;
        },
        [],
        { onProgress: ({ step }) => seen.push(step) },
      );
      expect(reported).to.be.above(10 * progressBurst);
      expect(seen.slice(0, progressBurst)).to.deep.equal(Array.from({ length: progressBurst }, (_, step) => step));
      const most = progressBurst + seconds * progressPerSecond + 1;
      expect(seen.length).to.be.within(progressBurst + 20, most);
      expect(seen).to.deep.equal([...seen].sort((a, b) => a - b));
      expect(seen.at(-1)).to.equal(reported - 1);
    });

    it("hand over the last value of a flood while the function waits, and before its error", async () => {
      const flood = async (values: number, end: string, context: { progress(value: number): void }) => {
        for (let value = 1; value <= values; value++) context.progress(value);
        if (end === "throws") throw new Error("flooded");
        await new Promise(() => {});
      };
      const values = 3 * progressBurst;
      const abort = new AbortController();
      const waiting = executors[kind].run(flood, [values, "waits"], {
        signal: abort.signal,
        onProgress: (value: number) => value === values && abort.abort(),
      });
      expect(await rejection(waiting)).to.include({ name: "AbortError" });
      const seen: number[] = [];
      const throwing = executors[kind].run(flood, [values, "throws"], {
        onProgress: (value: number) => seen.push(value),
      });
      expect(await rejection(throwing)).to.include({ message: "flooded" });
      expect(seen.at(-1)).to.equal(values);
    });

    it("throw at a progress that can't be sent, within a flood as well", async () => {
      const seen: unknown[] = [];
      const refused = await executors[kind].run(
        (values: number, context: { progress(value: unknown): void }) => {
          const refusals: number[] = [];
          for (let value = 1; value <= values; value++) {
            try {
              context.progress(value === 1 || value === values ? () => value : value);
            } catch {
              refusals.push(value); // what the spec is about
            }
          }
          return refusals;
        },
        [3 * progressBurst],
        { onProgress: (value) => seen.push(value) },
      );
      expect(refused).to.deep.equal([1, 3 * progressBurst]);
      expect(seen.at(-1)).to.equal(3 * progressBurst - 1);
    });

    it("give a function no further argument without onProgress", async () => {
      expect(await executors[kind].run((...args: number[]) => args.length, [1, 2])).to.equal(2);
    });

    it("do not take progress that a function reports after it has ended for another call's", async () => {
      const late: unknown[] = [];
      await executors[kind].run(
        (context: { progress(value: string): void }) => {
          setTimeout(() => context.progress("late"), 0);
        },
        [],
        { onProgress: (value: string) => late.push(value) },
      );
      const own: unknown[] = [];
      await executors[kind].run(
        (context: { progress(value: string): void }) =>
          new Promise<void>((resolve) => {
            context.progress("own");
            setTimeout(resolve, 20);
          }),
        [],
        { onProgress: (value: string) => own.push(value) },
      );
      expect(own).to.deep.equal(["own"]);
      expect(late).to.deep.equal([]);
    });

    it("reject the call when the caller's onProgress throws", async () => {
      const wrong = new Error("wrong");
      const call = executors[kind].run((context: { progress(value: number): void }) => context.progress(1), [], {
        onProgress() {
          throw wrong;
        },
      });
      expect(await rejection(call)).to.equal(wrong);
      expect(await executors[kind].run(() => 1, [])).to.equal(1);
    });

    it("refuse a call when the queue is full, and none after it has emptied (hazard 41)", async () => {
      const calls = [1, 2, 3].map((n) => executors[kind].run((value: number) => value, [n]));
      const error = await rejection(executors[kind].run(() => 4, []));
      expect(error).to.include({ name: "ExecutorQueueFullError", code: "executor-queue-full", queue: 2 });
      expect(error.message).to.contain("2 calls wait");
      expect(await Promise.all(calls)).to.deep.equal([1, 2, 3]);
      expect(await executors[kind].run(() => 5, [])).to.equal(5);
    });

    it("do not count aborted calls as waiting", async () => {
      const executors = await started({ [kind]: { max: 1 }, queue: 1 });
      const abort = new AbortController();
      const first = executors[kind].run(() => 1, []);
      const second = rejection(executors[kind].run(() => 2, [], { signal: abort.signal }));
      abort.abort();
      const third = executors[kind].run(() => 3, []);
      expect(await Promise.all([first, third])).to.deep.equal([1, 3]);
      expect(await second).to.include({ name: "AbortError" });
    });

    it("run as many calls at once as there are workers, others in their order", async () => {
      const executors = await started({ [kind]: { max: 2 } });
      const order: number[] = [];
      const calls = [1, 2, 3, 4, 5, 6].map((n) =>
        executors[kind].run((value: number) => value, [n]).then((value) => order.push(value)),
      );
      expect(executors[kind].stats()).to.include({ running: 2, waiting: 4 });
      await Promise.all(calls);
      expect(executors[kind].stats()).to.deep.equal({ running: 0, waiting: 0, workers: 2 });
      expect([...order].sort()).to.deep.equal([1, 2, 3, 4, 5, 6]);
    });
  });
}

describe("The sizes of executors", () => {
  afterEach(stopAll);

  it("are refused where they make no sense", async () => {
    for (const options of [
      { threads: { max: 0 } },
      { processes: { max: 1.5 } },
      { queue: -1 },
      { queue: Number.NaN },
    ]) {
      expect(await rejection(started(options))).to.be.instanceOf(RangeError);
    }
  });
});
