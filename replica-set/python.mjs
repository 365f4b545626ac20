import { findOnPath, run } from "./process.mjs";
import { Unavailable } from "./trouble.mjs";

const oldestMinor = 10;
// The plain name first: it is the one that people expect to be taken.
const names = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
// `ensurepip` is what Debian leaves out of python3 and puts into python3-venv.
const question = "import sys; print(*sys.version_info[:2]); import venv, ensurepip";

/**
 * @returns {Promise<string>} a Python that is new enough and can make virtual environments
 * @throws {Unavailable} saying exactly what to install
 */
export async function findPython() {
  /** @type {string[]} */
  const found = [];
  for (const name of names) {
    const file = await findOnPath(name);
    if (!file) continue;
    const { output, code } = await run(file, ["-c", question], { timeoutMs: 10_000 });
    const [major, minor] = output.trim().split(" ").map(Number);
    // A launcher of a version manager can stand on PATH for a version that is not installed.
    if (major === undefined || minor === undefined || Number.isNaN(minor)) continue;
    if (major < 3 || (major === 3 && minor < oldestMinor)) found.push(`${file} is ${major}.${minor}`);
    else if (code === 0) return file;
    else found.push(`${file} (${major}.${minor}) can't make virtual environments`);
  }
  throw new Unavailable(
    found.length === 0
      ? `Python 3.${oldestMinor} or later is needed and there is no python3 on PATH. ${install}`
      : `Python 3.${oldestMinor} or later with venv is needed: ${found.join("; ")}. ${install}`,
  );
}

const install =
  process.platform === "darwin"
    ? "Install it with: brew install python"
    : "Install it with: apt-get install python3 python3-venv (Debian, Ubuntu), or dnf install python3 (Fedora, from RHEL 9 on: python3.12)";
