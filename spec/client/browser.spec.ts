import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { expect } from "chai";
import { build } from "esbuild";
import type { Browser } from "playwright-core";
import { startBrowser } from "../../examples/lab/spec/support/browser.js";
import type * as library from "../../src/client/index.js";
import { startTestGateway, type TestGateway } from "../support/gateway.js";
import { freshDatabase, type SpecDatabase } from "../support/server.js";

/** What the page below shows. */
const html = `<!doctype html>
<link rel="icon" href="data:,">
<ul></ul>
<script type="module">
  import { connect } from "/client.js";
  const list = document.querySelector("ul");
  connect("/ws").interface("jobs").where({ state: "running" }).live().subscribe(({ docs, state }) => {
    list.dataset.state = state;
    list.replaceChildren(...docs.map(({ id, progress }) => {
      const item = document.createElement("li");
      item.textContent = \`\${id}: \${progress}\`;
      return item;
    }));
  });
</script>`;

const mostBytes = 6 * 1_024;

describe("the client library in a browser", () => {
  let browser: Browser;
  let database: SpecDatabase;
  let gateway: TestGateway;
  let bundle: string;

  before(async () => {
    const entry = fileURLToPath(new URL("../../src/client/index.ts", import.meta.url));
    const { outputFiles } = await build({
      entryPoints: [entry],
      bundle: true,
      minify: true,
      write: false,
      platform: "browser",
      format: "esm",
    });
    bundle = outputFiles[0]?.text ?? "";
    browser = await startBrowser();
    database = await freshDatabase();
    await database.db.createCollection("jobs", { changeStreamPreAndPostImages: { enabled: true } });
    gateway = await startTestGateway({ mongo: database.uri, interfaces: { jobs: { read: true } } });
    gateway.gateway.router.get("/page", (context) => {
      context.set("content-security-policy", "default-src 'self' 'unsafe-inline' data:");
      Object.assign(context, { type: "html", body: html });
    });
    gateway.gateway.router.get("/client.js", (context) => {
      Object.assign(context, { type: "js", body: bundle });
    });
  });
  after(async () => {
    await browser?.close();
    await gateway?.stop();
    await database?.dispose();
  });

  it("is small, and all that it needs", () => {
    expect(gzipSync(bundle, { level: 9 }).length).to.be.lessThan(mostBytes);
    expect(bundle).not.to.match(/\brequire\b|\bimport\b/);
  });

  it("shows what the database holds, from a page of the gateway's own host", async () => {
    const page = await browser.newPage();
    const said: string[] = [];
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", ({ message }) => said.push(message));
    await page.goto(`${gateway.url}/page`);
    await page.waitForSelector("ul[data-state=live]", { state: "attached" });
    const jobs = database.db.collection<{ _id: number; state: string; progress: number }>("jobs");
    await jobs.insertMany([
      { _id: 1, state: "running", progress: 0 },
      { _id: 2, state: "waiting", progress: 0 },
    ]);
    await page.getByText("1: 0").waitFor();
    await jobs.updateOne({ _id: 1 }, { $set: { progress: 50 } });
    await page.getByText("1: 50").waitFor();
    await jobs.updateOne({ _id: 2 }, { $set: { state: "running" } });
    await page.getByText("2: 0").waitFor();
    await jobs.updateOne({ _id: 1 }, { $set: { state: "complete" } });
    await page.getByText("1: 50").waitFor({ state: "detached" });
    expect(await page.locator("li").allTextContents()).to.deep.equal(["2: 0"]);
    expect(said).to.deep.equal([]);
    await page.close();
  });

  it("is `tailgate/client`, with its types, for browsers and for Node", async () => {
    const { exports } = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8"));
    expect(Object.keys(exports["./client"])).to.deep.equal(["types", "browser", "node", "default"]);
    // As a user's program has it: of the build.
    const { connect } = (await import("tailgate/client")) as typeof library;
    const client = connect(gateway.websocketUrl);
    const live = client.interface("jobs").live();
    expect(await live.ready()).to.be.an("array");
    client.close();
  });
});
