import type { GatewayProcess } from "./gateways.js";

/** What a connection goes through that may be a good reason for its end. */
export class Circumstances {
  wasStalled: boolean;
  isLeaving = false;
  readonly #gateway: GatewayProcess;
  readonly #endings: number;
  readonly #wasUp: boolean;

  /** @param wasStalled - or may have been, without anybody's doing: with so much to read, the run itself is slow now and then */
  constructor(gateway: GatewayProcess, wasStalled: boolean) {
    this.wasStalled = wasStalled;
    this.#gateway = gateway;
    this.#endings = gateway.endings;
    this.#wasUp = gateway.isUp;
  }

  /** Whether something was done to it that ends a connection with this code. */
  explain(code: number): boolean {
    const wasEnded = !this.#wasUp || !this.#gateway.isUp || this.#gateway.endings > this.#endings;
    if (this.isLeaving) return true;
    if ((code === 1006 || code === 1001) && wasEnded) return true;
    return code === 4508 && this.wasStalled;
  }
}
