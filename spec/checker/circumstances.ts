import type { GatewayProcess } from "./gateways.js";

/**
 * uWebSockets may shut a connection down in the turn in which it was upgraded, if that was not the turn of its request: after
 * `res.cork(() => res.upgrade(…))` it looks at the state of the response that was, which lies in reused memory by then. About one in a
 * hundred ends so, with 1006, before anything but `welcome`.
 */
export const stillbornMilliseconds = 250;

/** What a connection goes through that may be a good reason for its end. */
export class Circumstances {
  wasStalled: boolean;
  isLeaving = false;
  readonly #gateway: GatewayProcess;
  readonly #endings: number;
  readonly #wasUp: boolean;
  readonly #openedAt = performance.now();

  /** @param wasStalled - or may have been, without anybody's doing: with so much to read, the run itself is slow now and then */
  constructor(gateway: GatewayProcess, wasStalled: boolean) {
    this.wasStalled = wasStalled;
    this.#gateway = gateway;
    this.#endings = gateway.endings;
    this.#wasUp = gateway.isUp;
  }

  /** Whether it had just been opened, and so may have been cut off by chance. */
  isStillborn(code: number): boolean {
    return code === 1006 && performance.now() - this.#openedAt < stillbornMilliseconds;
  }

  /** Whether something was done to it that ends a connection with this code. */
  explain(code: number): boolean {
    const wasEnded = !this.#wasUp || !this.#gateway.isUp || this.#gateway.endings > this.#endings;
    if (this.isLeaving) return true;
    if ((code === 1006 || code === 1001) && wasEnded) return true;
    return code === 4508 && this.wasStalled;
  }
}
