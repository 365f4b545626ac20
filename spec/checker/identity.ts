import type { Random } from "./random.js";
import type { Sight } from "./sight.js";
import { otherClaims, type User } from "./views.js";

export interface IdentityOptions {
  readonly user: User | null;
  readonly token: string | undefined;
  /** What a user with these claims may see. */
  sightOf(user: User | null): Sight;
  tokenOf(user: User): Promise<string>;
}

/** Whose a client is: its claims may change, on the connection that it has or before the next. */
export class Identity {
  /** As the latest token says that was sent. */
  user: User | null;
  /** As the latest token says that was welcomed. */
  settled: User | null;
  #token: string | undefined;
  /** What counts for all that is heard now; the second while a token that was sent has not been welcomed. */
  #sights: readonly [now: Sight, next?: Sight];
  #isWelcome = false;
  readonly #options: IdentityOptions;

  constructor(options: IdentityOptions) {
    this.#options = options;
    this.user = options.user;
    this.settled = options.user;
    this.#token = options.token;
    this.#sights = [options.sightOf(options.user)];
  }

  /** What a connection is opened with. */
  get headers(): Record<string, string> {
    return this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
  }

  get isRenewing(): boolean {
    return this.#sights.length > 1;
  }

  /** A connection is opened: the latest token is its. */
  connecting(): void {
    this.#settle();
    this.#isWelcome = false;
  }

  /** @returns a token with the same claims or with others, and what to call when it has been sent */
  async renewal(changesClaims: boolean, random: Random): Promise<{ token: string; sent: () => void } | undefined> {
    const { tokenOf, sightOf } = this.#options;
    if (this.user === null) return undefined;
    const user = changesClaims ? otherClaims(this.user, random) : this.user;
    const token = await tokenOf(user);
    return {
      token,
      sent: () => {
        this.user = user;
        this.#token = token;
        this.#sights = [this.#sights[0], sightOf(user)];
      },
    };
  }

  /** The first of a connection is for the token of its handshake, the next for the one that was sent since. */
  welcomed(): void {
    if (this.#isWelcome) this.#settle();
    this.#isWelcome = true;
  }

  #settle(): void {
    this.settled = this.user;
    this.#sights = [this.#options.sightOf(this.user)];
  }

  look(who: string, text: string): void {
    const [now, next] = this.#sights;
    now.look(who, text, next);
  }
}
