import type { MainTaskContext } from "tailgate";
import { z } from "zod";
import { LabError } from "../data-folder.js";
import { askForJson } from "./upstream.js";

export const latestReleaseInput = z.strictObject({
  repository: z
    .string()
    .regex(/^[\w-][\w.-]{0,38}\/[\w-][\w.-]{0,99}$/, "has to be owner/name, such as samtools/samtools"),
});

const release = z.object({
  tag_name: z.string(),
  name: z.string().nullable(),
  published_at: z.string().nullable(),
  html_url: z.string(),
  prerelease: z.boolean(),
});

export interface LatestRelease {
  readonly repository: string;
  readonly tag: string;
  readonly name: string | null;
  readonly published_at: string | null;
  readonly url: string;
}

/**
 * Looks up the latest release of a repository at GitHub.
 *
 * @param githubUrl - where GitHub's API is
 * @throws LabError as {@link askForJson}; `not-found` also for a repository that has no release
 */
export async function latestRelease(
  input: z.output<typeof latestReleaseInput>,
  { http, signal }: Pick<MainTaskContext, "http" | "signal">,
  githubUrl: string,
): Promise<LatestRelease> {
  const { repository } = input;
  const answer = await askForJson(http, `${githubUrl}/repos/${repository}/releases/latest`, {
    server: "GitHub",
    missing: `GitHub knows no release of ${repository}`,
    signal,
    headers: { accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28" },
  });
  const parsed = release.safeParse(answer);
  if (!parsed.success) throw new LabError("upstream-answer", "GitHub's answer does not look like a release");
  const { tag_name: tag, name, published_at, html_url: url } = parsed.data;
  return { repository, tag, name, published_at, url };
}
