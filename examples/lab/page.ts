import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

export interface Page {
  readonly html: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Reads the page and makes its policy: only the script and the style that are in the file may run, known by their hashes,
 * and nothing may be loaded from elsewhere.
 *
 * @throws Error where the page has no script or no style
 */
export async function loadPage(file = new URL("./index.html", import.meta.url)): Promise<Page> {
  const html = await readFile(file, "utf8");
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(html, "script")}`,
    `style-src ${hashOf(html, "style")}`,
    "img-src data:",
    // The API, and the websocket of the same host.
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return { html, headers: { "Content-Security-Policy": policy.join("; "), "Cache-Control": "no-cache" } };
}

function hashOf(html: string, element: "script" | "style"): string {
  const content = new RegExp(`<${element}>(.*?)</${element}>`, "s").exec(html)?.[1];
  if (content === undefined) throw new Error(`the page has no <${element}>`);
  // What a browser hashes has no carriage returns: the HTML parser takes them out.
  const text = content.replaceAll("\r\n", "\n");
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
