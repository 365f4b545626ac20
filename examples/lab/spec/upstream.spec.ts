import { expect } from "chai";
import { samplesCollection } from "../laboratory.js";
import { type LabRig, startRig } from "./support/rig.js";
import type { Mood } from "./support/stand-in.js";

const asks: [task: string, input: object, server: string][] = [
  ["latest-release", { repository: "samtools/samtools" }, "GitHub"],
  ["fetch-record", { accession: "NC_000913.3" }, "NCBI"],
];

describe("the tasks that ask other servers", () => {
  let rig: LabRig;
  before(async () => {
    rig = await startRig({
      http: { userAgent: "lab-spec/1.0", timeoutSeconds: 3, totalTimeoutSeconds: 10, retries: 2 },
    });
  });
  after(() => rig.stop());

  it("latest-release returns tag, name, date and page, and asks as GitHub wants to be asked", async () => {
    const { state, result } = await rig.end("latest-release", { repository: "samtools/samtools" });
    expect(state).to.equal("complete");
    expect(result).to.deep.equal({
      repository: "samtools/samtools",
      tag: "1.21",
      name: "samtools 1.21",
      published_at: "2024-09-12T12:30:00Z",
      url: "https://github.com/samtools/samtools/releases/tag/1.21",
    });
    const { path, headers } = rig.standIn.requests.at(-1) ?? {};
    expect(path).to.equal("/repos/samtools/samtools/releases/latest");
    expect(headers).to.include({ accept: "application/vnd.github+json", "user-agent": "lab-spec/1.0" });
  });

  it("fetch-record returns the summary of a record, and says who asks", async () => {
    const { state, result } = await rig.end("fetch-record", { accession: "NC_000913.3" });
    expect(state).to.equal("complete");
    expect(result).to.deep.equal({
      accession: "NC_000913.3",
      title: "Escherichia coli str. K-12 substr. MG1655, complete genome",
      organism: "Escherichia coli str. K-12 substr. MG1655",
      length: 4_641_652,
      molecule: "dna",
      topology: "circular",
      updated: "2022/03/09",
    });
    expect(rig.standIn.requests.at(-1)).to.deep.include({
      path: "/eutils/esummary.fcgi",
      query: { db: "nuccore", id: "NC_000913.3", retmode: "json", tool: "tailgate-lab", email: "lab@example.org" },
    });
  });

  it("fetch-record notes the record on a sample, and every screen is told", async () => {
    const samples = rig.database.db.collection<{ _id: string; state: string }>(samplesCollection);
    await samples.insertOne({ _id: "S-1", state: "received" });
    const shown = rig.client.until(({ interface: name, data }) => {
      return name === "samples" && (data as { reference?: unknown }).reference !== undefined;
    });
    const { body } = await rig.post("fetch-record", { accession: "NC_000913.3", sample: "S-1" });
    const { data } = (await shown).at(-1) as { data: { reference: object } };
    expect(data.reference).to.include({ accession: "NC_000913.3", length: 4_641_652 });
    await rig.client.until(({ data: task }) => {
      const { id, state } = task as { id: string; state: string };
      return id === body.id && state === "complete";
    });
    const { error } = await rig.end("fetch-record", { accession: "NC_000913.3", sample: "S-2" });
    expect(error).to.deep.equal({ code: "no-such-sample", message: "there is no sample S-2" });
  });

  it("fail with not-found for what is unknown there", async () => {
    const release = await rig.end("latest-release", { repository: "samtools/nothing" });
    expect(release.error).to.deep.equal({ code: "not-found", message: "GitHub knows no release of samtools/nothing" });
    const record = await rig.end("fetch-record", { accession: "XX_000000" });
    expect(record.error?.code).to.equal("not-found");
    expect(record.error?.message).to.match(/^NCBI knows no nuccore record XX_000000/);
  });

  for (const [task, input, server] of asks) {
    async function endAfter(...moods: Mood[]) {
      const before = rig.standIn.requests.length;
      rig.standIn.next(...moods);
      const end = await rig.end(task, input);
      return { ...end, requests: rig.standIn.requests.slice(before) };
    }

    it(`${task} gets its answer when a server error, or a lost connection, is followed by success`, async () => {
      const { state, requests } = await endAfter({ kind: "status", status: 503 }, { kind: "hang-up" });
      expect(state).to.equal("complete");
      expect(requests).to.have.length(3);
    });

    it(`${task} fails when the server goes on failing`, async () => {
      const failing: Mood = { kind: "status", status: 502 };
      const { error, requests } = await endAfter(failing, failing, failing);
      expect(error).to.deep.equal({ code: "upstream-failed", message: `${server} answered 502: Server Error` });
      expect(requests).to.have.length(3);
    });

    it(`${task} fails when the server does not answer in time`, async () => {
      const { error } = await endAfter({ kind: "hang" });
      expect(error).to.deep.equal({ code: "upstream-timeout", message: `${server} did not answer in time` });
    });

    it(`${task} fails when the answer is not JSON`, async () => {
      const { error } = await endAfter({ kind: "ncbi-xml" });
      expect(error?.code).to.equal("upstream-answer");
    });

    it(`${task} is ended while it waits when it is cancelled`, async () => {
      rig.standIn.next({ kind: "hang" });
      const asked = rig.standIn.request();
      const { body } = await rig.post(task, input);
      await asked;
      const response = await fetch(`${rig.url}/api/tasks/${body.id}`, { method: "DELETE" });
      expect(response.status).to.equal(200);
      expect(await response.json()).to.include({ state: "cancelled" });
    });
  }

  for (const status of [403, 429] as const) {
    it(`latest-release says when GitHub takes requests again, and does not ask before (${status})`, async () => {
      const before = rig.standIn.requests.length;
      rig.standIn.next({ kind: "github-limit", status, seconds: 1_800 });
      const { error } = await rig.end("latest-release", { repository: "samtools/samtools" });
      expect(error?.code).to.equal("rate-limited");
      const time = /^GitHub takes no more requests before (\d\d:\d\d:\d\d) UTC$/.exec(error?.message ?? "")?.[1];
      expect(time).to.be.a("string");
      const day = new Date(Date.now() + 1_800_000).toISOString().slice(0, 10);
      expect(Date.parse(`${day}T${time}Z`)).to.be.closeTo(Date.now() + 1_800_000, 10_000);
      expect(rig.standIn.requests).to.have.length(before + 1);
    });
  }

  it("latest-release does not ask again before a secondary limit of GitHub is over", async () => {
    rig.standIn.next({ kind: "github-limit", status: 403, seconds: 60, secondary: true });
    const { error } = await rig.end("latest-release", { repository: "samtools/samtools" });
    expect(error?.code).to.equal("rate-limited");
  });

  it("fetch-record waits as long as NCBI asks for, then gets its answer", async () => {
    const before = rig.standIn.requests.length;
    rig.standIn.next({ kind: "ncbi-limit", seconds: 1 });
    expect((await rig.end("fetch-record", { accession: "NC_000913.3" })).state).to.equal("complete");
    const [first, second] = rig.standIn.requests.slice(before);
    expect((second?.at ?? 0) - (first?.at ?? 0)).to.be.at.least(990);
  });

  it("fetch-record fails when NCBI goes on refusing", async () => {
    rig.standIn.next({ kind: "ncbi-limit" }, { kind: "ncbi-limit" }, { kind: "ncbi-limit" });
    const { error } = await rig.end("fetch-record", { accession: "NC_000913.3" });
    expect(error).to.deep.equal({
      code: "rate-limited",
      message: "NCBI takes no more requests for now; try again in a minute",
    });
  });

  it("say so when the server can't be reached", async () => {
    const away: Mood = { kind: "hang-up" };
    rig.standIn.next(away, away, away);
    const { error } = await rig.end("latest-release", { repository: "samtools/samtools" });
    expect(error).to.deep.equal({ code: "upstream-unreachable", message: "GitHub can't be reached" });
  });

  it("refuse input that is none of theirs before there is a task", async () => {
    const bad: [string, object, string][] = [
      ["latest-release", { repository: "samtools" }, "repository"],
      ["latest-release", { repository: "../../admin/x" }, "repository"],
      ["fetch-record", { accession: "NC 1&db=pubmed" }, "accession"],
      ["fetch-record", { accession: "NC_000913.3", database: "pubmed" }, "database"],
    ];
    for (const [task, input, path] of bad) {
      const { status, body } = await rig.post(task, input);
      expect(status).to.equal(400);
      expect((body.errors as { path: string }[]).map((error) => error.path)).to.deep.equal([path]);
    }
  });
});
