import { ClientError } from "./error.js";
import type { Token } from "./types.js";

/** How long a token may be waited for, in milliseconds. */
const answerMilliseconds = 10_000;
/** How often in a row the gateway may refuse before that is final, at growing distances: a minute or two of asking for a token. */
const mostRefusals = 10;
const mostRefusalsOfCookies = 3;

/** Where tokens come from, and what the gateway thought of them. */
export class Tokens {
  readonly #given: Token | undefined;
  #newest: Promise<string | undefined> | undefined;
  #refused: { readonly token: string | undefined } | undefined;
  #refusals = 0;

  constructor(given: Token | undefined) {
    this.#given = given;
  }

  /** Whether there is something to ask. Without it the browser may have a cookie. */
  get areGiven(): boolean {
    return this.#given !== undefined;
  }

  /** Whether another one may be had. */
  get mayChange(): boolean {
    return typeof this.#given === "function";
  }

  /**
   * Of several questions at once all get the answer to the last one: what was true before it is not any more.
   *
   * @throws ClientError `no-token`
   */
  async ask(): Promise<string | undefined> {
    this.#newest = this.#answer();
    for (;;) {
      const asked: Promise<string | undefined> = this.#newest;
      try {
        const token = await asked;
        if (asked === this.#newest) return token;
      } catch (error) {
        if (asked === this.#newest) throw error;
      }
    }
  }

  /** The gateway would not have it. */
  refuse(token: string | undefined): void {
    this.#refused = { token };
    this.#refusals += 1;
  }

  accept(): void {
    this.#refused = undefined;
    this.#refusals = 0;
  }

  wasRefused(token: string | undefined): boolean {
    return this.#refused !== undefined && this.#refused.token === token;
  }

  /** Whether what was refused will be refused for ever. A cookie is not seen from here, and may be another one the next time. */
  get isFinal(): boolean {
    if (typeof this.#given === "function") return this.#refusals > mostRefusals;
    const mayHaveCookie = this.#given === undefined && "document" in globalThis;
    return !mayHaveCookie || this.#refusals > mostRefusalsOfCookies;
  }

  async #answer(): Promise<string | undefined> {
    const given = this.#given;
    if (typeof given !== "function") return given;
    const signal = AbortSignal.timeout(answerMilliseconds);
    try {
      return await new Promise<string | undefined>((resolve, reject) => {
        signal.addEventListener("abort", () => reject(new Error(`none in ${answerMilliseconds} ms`)));
        resolve(given({ signal }));
      });
    } catch (cause) {
      throw new ClientError("no-token", `no token: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
  }
}

/** What a JWT says of itself. Whatever else the application signs its users in with says nothing. */
interface Claims {
  readonly sub?: unknown;
  readonly iat?: unknown;
  readonly exp?: unknown;
}

/** A clock that is wrong must not make a client ask for tokens all the time, in milliseconds. */
const unknownMilliseconds = 30_000;
const longestMilliseconds = 60_000;

/**
 * When to ask for the next token: a tenth of the time that is left before this one expires, or a minute.
 *
 * @param now - this machine's clock, in milliseconds since 1970; where it is ahead, the token's own life counts
 * @returns milliseconds, or undefined where the token does not say that it expires
 */
export function renewAfter(token: string, now = Date.now()): number | undefined {
  const { exp, iat } = claimsOf(token);
  if (typeof exp !== "number") return undefined;
  const life = typeof iat === "number" ? (exp - iat) * 1_000 : 0;
  const left = exp * 1_000 - now;
  const remaining = left > 0 && life > 0 ? Math.min(left, life) : Math.max(left, life);
  return remaining > 0 ? remaining - Math.min(longestMilliseconds, remaining / 10) : unknownMilliseconds;
}

/** @returns whose the token is, or undefined where it does not say */
export function subjectOf(token: string): string | undefined {
  const { sub } = claimsOf(token);
  return typeof sub === "string" ? sub : undefined;
}

function claimsOf(token: string): Claims {
  try {
    const payload = atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    // Text of UTF-8, of which `atob` gives the bytes.
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (byte) => byte.charCodeAt(0)))) as Claims;
  } catch {
    // No JWT.
    return {};
  }
}
