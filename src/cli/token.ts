import { type Command, InvalidArgumentError } from "commander";
import { signToken } from "../auth/sign.js";
import { type Flags, loadSettings } from "../config/load.js";

interface TokenFlags extends Pick<Flags, "config"> {
  readonly sub: string;
  readonly claim?: ReadonlyMap<string, unknown>;
  /** In seconds. */
  readonly ttl?: number;
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };
const longestSeconds = 3_650 * 86_400;
/** Claims that have a flag of their own, or none because they are made here. */
const taken: Readonly<Record<string, string>> = { sub: "--sub says it", exp: "--ttl says it", iat: "it is now" };

export function addToken(program: Command): void {
  program
    .command("token")
    .description("sign a development token with the secret of the configuration, and print it")
    .option("-c, --config <file>", "configuration file: .yaml, .json or a module")
    .requiredOption("--sub <user>", "whom it speaks for", subject)
    .option("--claim <name=value>", "a further claim, more than once if need be; JSON, or else text", claim)
    .option("--ttl <time>", "how long it is good: 30s, 15m, 1h, 7d (default: 1h)", timeToLive)
    .action(token);
}

async function token({ config, sub, claim: claims, ttl = 3_600 }: TokenFlags): Promise<void> {
  const { auth } = await loadSettings({ flags: { config } });
  const signed = await signToken(auth.jwt, { sub, claims: Object.fromEntries(claims ?? []), ttlSeconds: ttl });
  process.stdout.write(`${signed}\n`);
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function subject(text: string): string {
  if (text === "") throw new InvalidArgumentError("It is the name or id of a user, such as u1.");
  return text;
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function claim(text: string, before: ReadonlyMap<string, unknown> = new Map()): ReadonlyMap<string, unknown> {
  const equals = text.indexOf("=");
  if (equals < 1) throw new InvalidArgumentError('It is a name and a value, such as team=blue or teams=\'["a","b"]\'.');
  const name = text.slice(0, equals);
  if (Object.hasOwn(taken, name)) throw new InvalidArgumentError(`${name} is no claim to be given: ${taken[name]}.`);
  return new Map([...before, [name, claimValue(text.slice(equals + 1))]]);
}

function claimValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // No JSON, so it is meant as text: nobody should have to quote it twice.
    return text;
  }
}

/** @throws InvalidArgumentError, which commander reports as a usage error */
function timeToLive(text: string): number {
  const [, amount, unit = ""] = /^(\d{1,10})([smhd])$/.exec(text) ?? [];
  const seconds = Number(amount) * (unitSeconds[unit] ?? Number.NaN);
  if (seconds > 0 && seconds <= longestSeconds) return seconds;
  throw new InvalidArgumentError("It is a time such as 30s, 15m, 1h or 7d; ten years at most.");
}
