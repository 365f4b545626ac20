import type { MainTaskContext } from "tailgate";
import { z } from "zod";
import { LabError } from "../data-folder.js";
import { type SampleDocument, samplesCollection } from "../laboratory.js";
import { askForJson } from "./upstream.js";

export const fetchRecordInput = z.strictObject({
  database: z.enum(["nuccore", "protein"]).default("nuccore"),
  accession: z.string().regex(/^[A-Za-z][\w.]{3,30}$/, "has to be an accession, such as NC_000913.3"),
  sample: z.string().max(100).optional().describe("the id of a sample on which the record is noted as its reference"),
});

const summary = z.object({
  accessionversion: z.string(),
  title: z.string(),
  organism: z.string().optional(),
  taxid: z.number().optional(),
  slen: z.number(),
  moltype: z.string().optional(),
  topology: z.string().optional(),
  updatedate: z.string().optional(),
});

/** What is an answer of `esummary` has its summaries under their uids, or an error beside them. */
const esummary = z.object({
  error: z.string().optional(),
  result: z.looseObject({ uids: z.array(z.string()) }).optional(),
});

export interface SequenceRecord {
  readonly accession: string;
  readonly title: string;
  readonly organism: string | null;
  readonly length: number;
  readonly molecule: string | null;
  readonly topology: string | null;
  readonly updated: string | null;
}

/**
 * Fetches the summary of a sequence record from NCBI, and notes it on a sample where one is named.
 *
 * @param ncbi.url - where the E-utilities are
 * @param ncbi.email - whom NCBI may write to
 * @throws LabError as {@link askForJson}; `not-found` for an unknown accession, `no-such-sample`
 */
export async function fetchRecord(
  input: z.output<typeof fetchRecordInput>,
  { http, db, signal }: Pick<MainTaskContext, "http" | "db" | "signal">,
  ncbi: { url: string; email?: string | undefined },
): Promise<SequenceRecord> {
  const { database, accession, sample } = input;
  const missing = `NCBI knows no ${database} record ${accession}`;
  const answer = await askForJson(http, `${ncbi.url}/esummary.fcgi`, {
    server: "NCBI",
    missing,
    signal,
    searchParams: {
      db: database,
      id: accession,
      retmode: "json",
      tool: "tailgate-lab",
      ...(ncbi.email === undefined ? {} : { email: ncbi.email }),
    },
  });
  const record = recordOf(answer, missing);
  if (sample !== undefined) {
    const { accession: found, title, organism, length } = record;
    const { matchedCount } = await db
      .collection<SampleDocument>(samplesCollection)
      .updateOne(
        { _id: sample },
        { $set: { reference: { accession: found, title, organism, length }, updated_at: new Date() } },
      );
    if (matchedCount === 0) throw new LabError("no-such-sample", `there is no sample ${sample}`);
  }
  return record;
}

function recordOf(answer: unknown, missing: string): SequenceRecord {
  const parsed = esummary.safeParse(answer);
  if (!parsed.success) throw unexpected();
  const { error, result } = parsed.data;
  if (error !== undefined) {
    throw new LabError(
      /invalid uid/i.test(error) ? "not-found" : "upstream-failed",
      `${missing}: ${error.slice(0, 200)}`,
    );
  }
  const uid = result?.uids[0];
  if (uid === undefined) throw new LabError("not-found", missing);
  const found = summary.safeParse(result?.[uid]);
  if (!found.success) {
    // An unknown accession may come back as an entry that has only an error.
    const only = z.object({ error: z.string() }).safeParse(result?.[uid]);
    throw only.success ? new LabError("not-found", `${missing}: ${only.data.error.slice(0, 200)}`) : unexpected();
  }
  const { accessionversion, title, organism, slen, moltype, topology, updatedate } = found.data;
  return {
    accession: accessionversion,
    title,
    organism: organism || null,
    length: slen,
    molecule: moltype || null,
    topology: topology || null,
    updated: updatedate || null,
  };
}

function unexpected(): LabError {
  return new LabError("upstream-answer", "NCBI's answer does not look like a summary of a record");
}
