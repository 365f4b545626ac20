import { createHash } from "node:crypto";

/** @returns the strong entity tag of a representation, with its quotes: the same text has the same tag on every node */
export function etagOf(json: string): string {
  return `"${createHash("sha256").update(json).digest("base64url").slice(0, 27)}"`;
}

/**
 * @param header - `If-Match` or `If-None-Match` as it came
 * @param comparison - `If-Match` needs the strong comparison, for which a weak tag is equal to none (RFC 9110, 8.8.3.2)
 */
export function listsEtag(header: string, etag: string, comparison: "strong" | "weak"): boolean {
  if (header.trim() === "*") return true;
  return [...header.matchAll(/(W\/)?("[^"]*")/g)].some(
    ([, weak, tag]) => tag === etag && (weak === undefined || comparison === "weak"),
  );
}
