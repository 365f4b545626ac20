/** Matches documents against one filter, with the gateway's matcher or with mingo, in a process that does nothing else. */
import { Query } from "mingo";
import { type Document, ObjectId } from "mongodb";
import type { compileFilter as CompileFilter } from "../src/filter/compile.js";
import type { parseFilter as ParseFilter } from "../src/filter/parse.js";
import { answer } from "./rpc.js";

type Engine = "mingo" | "gateway";
type Match = (document: Document) => boolean;

/** Three terms, as a dashboard might ask: about one document in twelve matches. */
const filter = { state: "running", "user.id": { $in: ["u-0001", "u-0002"] }, progress: { $gte: 0.25 } };
const documentCount = 1_000;

export const methods = {
  /**
   * @returns nanoseconds for each match, how many of the documents match, and of how many the other engine says otherwise
   */
  async measure(options: { engine: Engine; milliseconds: number }): Promise<{
    nanoseconds: number;
    matching: number;
    disputed: number;
  }> {
    const documents = Array.from({ length: documentCount }, (_, index) => documentOf(index));
    const match = await matcherOf(options.engine);
    run(match, documents, options.milliseconds / 3);
    const { seconds, matches } = run(match, documents, options.milliseconds);
    // Only now, so that the other engine is not compiled into the same loop.
    const other = await matcherOf(options.engine === "mingo" ? "gateway" : "mingo");
    return {
      nanoseconds: (seconds * 1e9) / matches,
      matching: documents.filter(match).length,
      disputed: documents.filter((document) => match(document) !== other(document)).length,
    };
  },
};

/** @returns how long it took, and how many documents it matched in that time */
function run(match: Match, documents: readonly Document[], milliseconds: number): { seconds: number; matches: number } {
  const began = performance.now();
  let rounds = 0;
  let matching = 0;
  let now = began;
  while (now - began < milliseconds) {
    for (const document of documents) if (match(document)) matching += 1;
    rounds += 1;
    now = performance.now();
  }
  if (matching === 0 || matching === rounds * documents.length) throw new Error("the filter tells nothing apart");
  return { seconds: (now - began) / 1000, matches: rounds * documents.length };
}

async function matcherOf(engine: Engine): Promise<Match> {
  if (engine === "mingo") {
    const query = new Query(filter);
    return (document) => query.test(document);
  }
  const load = (path: string): Promise<unknown> => import(new URL(`../../dist/filter/${path}`, import.meta.url).href);
  const { compileFilter } = (await load("compile.js")) as { compileFilter: typeof CompileFilter };
  const { parseFilter } = (await load("parse.js")) as { parseFilter: typeof ParseFilter };
  return compileFilter(parseFilter(filter));
}

/** As the driver reads them. */
function documentOf(index: number): Document {
  return {
    _id: new ObjectId(),
    state: ["running", "waiting", "done"][index % 3],
    user: { id: `u-${String(index % 5).padStart(4, "0")}`, name: "Ada Example" },
    created_at: new Date(),
    note: "x".repeat(100),
    sequence: index,
    progress: (index % 7) / 7,
  };
}

answer(methods);
