import { join } from "node:path";
import { expect } from "chai";
import type { Browser } from "playwright-core";
import { startLab } from "../lab.js";
import { makeFastq } from "../make-fastq.js";
import { openPage, startBrowser, type WatchedPage } from "./support/browser.js";
import { freePort, type LabRig, startRig } from "./support/rig.js";

/** Beside what a spec expects, nothing may be said on the page's console. */
describe("the page", function () {
  this.timeout(60_000);
  let rig: LabRig;
  let browser: Browser;
  let watched: WatchedPage;
  before(async () => {
    rig = await startRig();
    makeFastq(join(rig.folder, "reads.fastq"), { megabytes: 60 });
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await rig?.stop();
  });
  beforeEach(async () => {
    watched = await openPage(browser, `${rig.url}/`);
  });
  afterEach(async function () {
    const { page, said } = watched;
    await page.close();
    if (this.currentTest?.state === "passed") expect(said).to.deep.equal([]);
  });

  const samples = () => rig.database.db.collection<{ _id: string; organism: string; state: string }>("samples");
  const jobs = () => rig.database.db.collection<{ _id: string; name: string; state: string; progress: number }>("jobs");

  it("shows a document that another program inserts, what becomes of it, and that it is gone", async () => {
    const row = watched.page.locator('#samples li[data-id="S-1"]');
    expect(await row.count()).to.equal(0);
    await samples().insertOne({ _id: "S-1", organism: "Escherichia coli", state: "received" });
    await row.waitFor();
    expect(await row.textContent()).to.match(/S-1\s+Escherichia coli[\s\S]*received/);
    await samples().updateOne({ _id: "S-1" }, { $set: { state: "sequencing" } });
    await row.getByText("sequencing").waitFor();
    await samples().deleteOne({ _id: "S-1" });
    await row.waitFor({ state: "detached" });
  });

  it("shows jobs with their progress, those that run first", async () => {
    await jobs().insertMany([
      { _id: "J-1", name: "align", state: "complete", progress: 1 },
      { _id: "J-2", name: "align", state: "waiting", progress: 0 },
      { _id: "J-3", name: "sequence", state: "running", progress: 0.25 },
    ]);
    await watched.page.locator("#jobs li").nth(2).waitFor();
    const order = () => watched.page.locator("#jobs li").evaluateAll((rows) => rows.map((row) => row.dataset.id));
    expect(await order()).to.deep.equal(["J-3", "J-2", "J-1"]);
    const bar = watched.page.locator('#jobs li[data-id="J-3"] [role=progressbar]');
    expect(await bar.getAttribute("aria-valuenow")).to.equal("25");
    await jobs().updateOne({ _id: "J-3" }, { $set: { progress: 0.75 } });
    await watched.page.locator('#jobs li[data-id="J-3"] [aria-valuenow="75"]').waitFor();
    await jobs().deleteMany({});
    await watched.page.locator("#jobs li").first().waitFor({ state: "detached" });
  });

  it("shows text of the database as text", async () => {
    await samples().insertOne({ _id: "S-x", organism: "<img src=x onerror=alert(1)><b>bold</b>", state: "received" });
    const row = watched.page.locator('#samples li[data-id="S-x"]');
    await row.waitFor();
    expect(await row.textContent()).to.include("<b>bold</b>");
    expect(await row.locator("img, b").count()).to.equal(0);
    await samples().deleteMany({});
    await row.waitFor({ state: "detached" });
  });

  it("starts a task by a click, and shows its progress and then its result", async () => {
    const { page } = watched;
    await page.evaluate(() => {
      const seen = new Set<string>();
      Object.assign(window, { seen });
      new MutationObserver(() => {
        const bar = document.querySelector("#tasks [role=progressbar]");
        if (bar !== null) seen.add(`${(bar as HTMLElement).dataset.state} ${bar.getAttribute("aria-valuenow")}`);
      }).observe(document.body, { subtree: true, childList: true, attributes: true });
    });
    await page.getByRole("button", { name: "Start" }).click();
    const task = page.locator("#tasks .task").first();
    await task.getByText("complete", { exact: true }).waitFor();
    expect(await task.textContent()).to.match(/reads.fastq[\s\S]*mean quality/);
    expect(await task.locator("svg").count()).to.equal(2);
    expect(await task.getByRole("button", { name: "Cancel" }).isVisible()).to.equal(false);
    const seen = await page.evaluate(() => [...(window as unknown as { seen: Set<string> }).seen]);
    expect(
      seen.some((state) => /^running [1-9]/.test(state)),
      seen.join("; "),
    ).to.equal(true);
  });

  it("shows at the field what is wrong with an input, and why a task failed", async () => {
    const { page, said } = watched;
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByLabel("To").fill("../outside");
    await page.getByRole("button", { name: "Start" }).click();
    await page.locator("label", { hasText: "To" }).getByText("has to be the name of a file").waitFor();
    // Chromium says on the console that a request was answered with 400.
    expect((said as string[]).splice(0)).to.have.length(1);
    await page.getByLabel("To").fill("copy.fastq");
    await page.getByLabel("From").fill("missing.fastq");
    await page.getByRole("button", { name: "Start" }).click();
    await page.locator("#tasks .task").first().getByText("there is no file missing.fastq").waitFor();
  });

  it("cancels a task", async () => {
    const { page } = watched;
    const asked = rig.standIn.request();
    rig.standIn.next({ kind: "hang" });
    await page.getByRole("button", { name: "Latest release" }).click();
    await page.getByRole("button", { name: "Start" }).click();
    await asked;
    const task = page.locator("#tasks .task").first();
    await task.getByRole("button", { name: "Cancel" }).click();
    await task.getByText("cancelled", { exact: true }).waitFor();
  });

  it("fetches again when the stream was reset, and misses nothing", async () => {
    await samples().insertMany([
      { _id: "S-5", organism: "Yersinia pestis", state: "received" },
      { _id: "S-6", organism: "Vibrio cholerae", state: "received" },
    ]);
    const rows = watched.page.locator("#samples li");
    await rows.nth(1).waitFor();
    // A dropped collection closes plain connections with 4510; no delete is sent for what was in it.
    await samples().drop();
    await rows.first().waitFor({ state: "detached" });
    await watched.page.waitForSelector("#state[data-state=live]");
    await samples().insertOne({ _id: "S-7", organism: "Bacillus subtilis", state: "received" });
    await watched.page.locator('#samples li[data-id="S-7"]').waitFor();
    expect(await rows.count()).to.equal(1);
    await samples().deleteMany({});
  });

  it("shows what changed between its connecting and the answer to its fetch", async () => {
    const page = await browser.newPage();
    let release = (): void => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    // The answer is what the database held before the insert, and comes after the message of the insert.
    const held = new Promise<void>((resolve) => {
      void page.route("**/api/samples?*", async (route) => {
        const response = await route.fetch();
        resolve();
        await released;
        await route.fulfill({ response });
      });
    });
    const told = new Promise<void>((resolve) => {
      page.on("websocket", (socket) =>
        socket.on("framereceived", ({ payload }) => String(payload).includes('"S-9"') && resolve()),
      );
    });
    await page.goto(`${rig.url}/`);
    await held;
    await samples().insertOne({ _id: "S-9", organism: "Helicobacter pylori", state: "received" });
    await told;
    release();
    await page.locator('#samples li[data-id="S-9"]').waitFor();
    await page.close();
    await samples().deleteMany({});
  });

  it("allows no other script and no other style than its own", async () => {
    const response = await fetch(`${rig.url}/`);
    expect(response.headers.get("content-type")).to.match(/^text\/html/);
    const policy = response.headers.get("content-security-policy") ?? "";
    expect(policy).to.match(/default-src 'none'; script-src 'sha256-[\w+/]+=*'; style-src 'sha256-[\w+/]+=*';/);
    const hasRun = await watched.page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.planted = true";
      document.body.append(script);
      return "planted" in window;
    });
    expect(hasRun).to.equal(false);
    const violations = watched.said as string[];
    expect(violations.splice(0).join()).to.match(/Content Security Policy/);
  });

  it("fits a phone: nothing is wider than the screen", async () => {
    await samples().insertOne({ _id: "S-8", organism: "Mycobacterium tuberculosis", state: "sequencing" });
    const phone = await openPage(browser, `${rig.url}/`, 360);
    await phone.page.locator('#samples li[data-id="S-8"]').waitFor();
    const [content, screen] = await phone.page.evaluate(() => [
      document.documentElement.scrollWidth,
      window.innerWidth,
    ]);
    expect(content).to.be.at.most(screen as number);
    await phone.page.close();
  });
});

describe("the page, when the gateway stops and starts again", function () {
  this.timeout(60_000);

  it("says so, comes back by itself and shows what changed meanwhile", async () => {
    // Given as a number: uWebSockets can't listen at once again on a port that the system chose for it.
    const port = await freePort();
    const first = await startRig({ port });
    const browser = await startBrowser();
    try {
      const { page } = await openPage(browser, `${first.url}/`);
      const samples = first.database.db.collection<{ _id: string; organism: string; state: string }>("samples");
      await samples.insertOne({ _id: "S-1", organism: "Escherichia coli", state: "received" });
      await page.locator('#samples li[data-id="S-1"]').waitFor();
      await first.gateway.stop();
      await page.waitForSelector("#state[data-state=waiting]");
      await samples.insertOne({ _id: "S-2", organism: "Bacillus subtilis", state: "received" });
      await samples.deleteOne({ _id: "S-1" });
      const second = await startLab({
        githubUrl: first.standIn.url,
        ncbiUrl: first.standIn.url,
        dataFolder: first.folder,
        gateway: { mongo: first.database.uri, host: "127.0.0.1", port, logLevel: "silent" },
      });
      try {
        await page.waitForSelector("#state[data-state=live]");
        await page.locator('#samples li[data-id="S-2"]').waitFor();
        expect(await page.locator('#samples li[data-id="S-1"]').count()).to.equal(0);
      } finally {
        await second.stop();
      }
    } finally {
      await browser.close();
      await first.stop();
    }
  });
});
