import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export interface WatchedPage {
  readonly page: Page;
  /** What was said on the page's console, and errors that nobody caught; violations of its policy are among them. */
  readonly said: readonly string[];
}

/** @throws Error that says how to install it, where there is no Chromium */
export async function startBrowser(): Promise<Browser> {
  const executablePath = [process.env.CHROMIUM ?? "", ...places].find((place) => place !== "" && existsSync(place));
  if (executablePath === undefined) {
    throw new Error("these specs need Chromium: apt-get install chromium, or its path in the variable CHROMIUM");
  }
  return chromium.launch({ executablePath, args: flags });
}

export async function openPage(browser: Browser, url: string, width = 1_280): Promise<WatchedPage> {
  const page = await browser.newPage({ viewport: { width, height: 900 } });
  const said: string[] = [];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`uncaught: ${error.message}`));
  await page.goto(url);
  await page.waitForSelector("#state[data-state=live]");
  return { page, said };
}
