import { isDeepStrictEqual } from "node:util";
import { expect } from "chai";
import { exported } from "../../src/executors/exported.js";
import type { Executors } from "../../src/executors/pools.js";
import type fail from "./fixtures/statistics.js";
import type { generateStatistics } from "./fixtures/statistics.js";
import { kinds, rejection, shared, started, stopAll } from "./support.js";

const statistics = new URL("./fixtures/statistics.js", import.meta.url).href;

const holes = [undefined];
holes.length = 3;

for (const kind of kinds) {
  describe(`Values and errors of calls in ${kind}`, () => {
    afterEach(stopAll);

    let executors: Executors;
    before(async () => {
      executors = await shared({ [kind]: { max: 1 } });
    });
    after(() => executors.stop());

    const values: Record<string, unknown> = {
      undefined: undefined,
      null: null,
      "a Map with a Map in it": new Map<unknown, unknown>([["a", new Map([[1, 2n]])]]),
      "a Set": new Set([1, "two"]),
      "a Date": new Date(86_400_000),
      "a Buffer": Buffer.from("buffer"),
      "a Uint8Array": Uint8Array.of(1, 2, 255),
      "a Float64Array": Float64Array.of(0.1, Number.NaN, Number.POSITIVE_INFINITY),
      "an ArrayBuffer": Uint8Array.of(9, 8).buffer,
      "a BigInt": 2n ** 80n,
      "negative zero, NaN and infinity": [-0, Number.NaN, Number.NEGATIVE_INFINITY],
      "a list with holes and undefined": holes,
      "an object with undefined": { a: undefined, b: { c: [] } },
      "a regular expression": /a+/giu,
      "a long text": "ä🙂".repeat(100_000),
      "five megabytes": Buffer.alloc(5_000_000, 7),
    };
    for (const [name, value] of Object.entries(values)) {
      it(`carry ${name} there and back unchanged`, async () => {
        const back = await executors[kind].run(
          (argument: unknown) => [argument, typeof argument, String(argument)],
          [value],
        );
        expect(isDeepStrictEqual(back, [value, typeof value, String(value)])).to.equal(true);
      });
    }

    it("carry an object that refers to itself", async () => {
      const ring: { self?: unknown } = {};
      ring.self = ring;
      const back = await executors[kind].run(
        (value: { self?: unknown }) => ({ value, same: value.self === value }),
        [ring],
      );
      expect(back.same).to.equal(true);
      expect(back.value.self).to.equal(back.value);
    });

    it("take arguments as they are when the call is made, however long it waits", async () => {
      const list = [1];
      const first = executors[kind].run(() => 0, []);
      const second = executors[kind].run((values: number[]) => values, [list]);
      list.push(2);
      await first;
      expect(await second).to.deep.equal([1]);
    });

    it("refuse arguments and results that can't be sent, and go on", async () => {
      const argument = await rejection(executors[kind].run((value: unknown) => value, [() => 1]));
      expect(argument).to.include({ name: "NotSerialisableError", code: "not-serialisable" });
      expect(argument.message).to.contain("arguments").and.contain("could not be cloned");
      const result = await rejection(executors[kind].run(() => ({ close() {} }), []));
      expect(result).to.include({ name: "NotSerialisableError", code: "not-serialisable" });
      expect(result.message).to.contain("result");
      expect(await executors[kind].run((value: number) => value, [3])).to.equal(3);
    });

    it("bring an error with its name, message, code, stack, properties and cause", async () => {
      const error = await rejection(
        executors[kind].run(async function readMissing() {
          const { readFileSync } = await import("node:fs");
          class LookupError extends Error {
            override name = "LookupError";
            code = "no-such-thing";
            status = 404;
          }
          try {
            return readFileSync("/no/such/file");
          } catch (cause) {
            throw new LookupError("not here", { cause });
          }
        }, []),
      );
      expect(error).to.be.an("error");
      expect(error).to.include({ name: "LookupError", message: "not here", code: "no-such-thing", status: 404 });
      expect(error.stack).to.contain("LookupError").and.contain("readMissing");
      expect(error.cause).to.include({ code: "ENOENT", syscall: "open", path: "/no/such/file" });
    });

    it("bring JavaScript's own errors as instances of their class", async () => {
      expect(await rejection(executors[kind].run(() => (undefined as unknown as { a: 1 }).a, []))).to.be.instanceOf(
        TypeError,
      );
    });

    for (const value of ["text", "", 0, null, undefined, { reason: "object" }]) {
      it(`reject with an error when the function throws ${JSON.stringify(value)}`, async () => {
        const thrower = (thrown: unknown) => {
          throw thrown;
        };
        const error = await rejection(executors[kind].run(thrower, [value]));
        expect(error).to.include({ name: "ThrownValueError", code: "thrown-value" });
        expect(error.message).to.contain(
          typeof value === "object" && value !== null ? '{"reason":"object"}' : String(value),
        );
      });
    }

    it("survive an error whose properties throw", async () => {
      const error = await rejection(
        executors[kind].run(() => {
          const hostile = new Error("hostile");
          Object.defineProperty(hostile, "trap", {
            enumerable: true,
            get() {
              throw new Error("sprung");
            },
          });
          throw hostile;
        }, []),
      );
      expect(error.message).to.contain("can't be read").and.contain("sprung");
      expect(await executors[kind].run(() => 1, [])).to.equal(1);
    });

    it("run an exported function of a TypeScript module that imports another", async () => {
      const generate = exported<typeof generateStatistics>(statistics, "generateStatistics");
      const result = await executors[kind].run(generate, [[1, 2, 6]]);
      const count: number = result.count;
      expect(count).to.equal(3);
      expect(result).to.deep.equal({ count: 3, mean: 3 });
    });

    it("run a default export, whose stack names its file", async () => {
      const error = await rejection(executors[kind].run(exported<typeof fail>(statistics, "default"), []));
      expect(error).to.be.instanceOf(RangeError);
      expect(error.stack).to.match(/fixtures\/statistics\.ts:\d+/);
    });

    it("say which exports there are when the named one is no function", async () => {
      for (const name of ["generate", "notAFunction"]) {
        const error = await rejection(executors[kind].run(exported(statistics, name), []));
        expect(error).to.include({ name: "BadFunctionError", code: "bad-function" });
        expect(error.message).to.contain(name).and.contain("generateStatistics");
      }
    });

    it("fail with Node's error when the module does not exist", async () => {
      const error = await rejection(
        executors[kind].run(exported(new URL("./missing.js", import.meta.url).href, "f"), []),
      );
      expect(error.code).to.equal("ERR_MODULE_NOT_FOUND");
    });

    it("refuse a function without a text that stands on its own", async () => {
      const method = {
        method() {
          return 1;
        },
      }.method;
      for (const fn of [Math.max, (() => 1).bind(undefined), method]) {
        expect(await rejection(executors[kind].run(fn, []))).to.include({ code: "bad-function" });
      }
    });
  });
}

describe("The types of runInThread and runInProcess", () => {
  afterEach(stopAll);

  it("follow from the function", async () => {
    const executors = await started();
    const sum: number = await executors.runInThread((a: number, b: number) => a + b, 1, 2);
    const text: string = await executors.runInProcess(async (a: string) => a, "a");
    expect([sum, text]).to.deep.equal([3, "a"]);
    // @ts-expect-error a text is no number
    await executors.runInThread((a: number) => a, "1");
    // @ts-expect-error the result is a number
    const wrong: string = await executors.runInThread(() => 1);
    expect(wrong).to.equal(1);
    const untyped: unknown = await executors.runInProcess(exported(statistics, "generateStatistics"), [1, 2, 3]);
    expect(untyped).to.deep.equal({ count: 3, mean: 2 });
  });

  it("do not let a module be named by a path", () => {
    expect(() => exported("./statistics.js", "generateStatistics")).to.throw("import.meta.resolve");
  });
});
