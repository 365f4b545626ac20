import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigurationError, type Options } from "tailgate";

/** What the lab itself can be told. The gateway reads `MONGODB_URI`, `HOST`, `PORT` and `LOG_LEVEL` on its own. */
export interface LabSettings {
  /** Where the API of GitHub is, without a slash at the end. */
  readonly githubUrl: string;
  /** Where the E-utilities of NCBI are, without a slash at the end. */
  readonly ncbiUrl: string;
  /** NCBI asks programs to give an address, so that it can write before it blocks. */
  readonly ncbiEmail?: string;
  /** The only folder whose files tasks read and write. */
  readonly dataFolder: string;
  /** Overrides of the gateway's options; specs give a database and a free port. */
  readonly gateway?: Options;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** The project's folder, two above this file. */
export const projectFolder = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/**
 * @param environment - `GITHUB_URL`, `NCBI_URL`, `NCBI_EMAIL` and `LAB_DIR`; an empty one counts as unset
 * @throws ConfigurationError for an address that is none
 */
export function labSettings(environment: Environment = process.env): LabSettings {
  return {
    githubUrl: address("GITHUB_URL", environment.GITHUB_URL || "https://api.github.com"),
    ncbiUrl: address("NCBI_URL", environment.NCBI_URL || "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"),
    ...(environment.NCBI_EMAIL ? { ncbiEmail: environment.NCBI_EMAIL } : {}),
    dataFolder: resolve(projectFolder, environment.LAB_DIR || ".lab"),
  };
}

function address(name: string, text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new ConfigurationError(`${name} has to be a http:// or https:// address, such as https://api.github.com`);
  }
  return text.replace(/\/+$/, "");
}
