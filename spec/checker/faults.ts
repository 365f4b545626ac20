import { setTimeout as sleep } from "node:timers/promises";
import type { GatewayProcess } from "./gateways.js";
import type { Member } from "./member.js";
import type { PlainMember } from "./plain-member.js";
import type { Random } from "./random.js";
import type { Action, Scenario } from "./scenarios.js";
import type { World } from "./world.js";

export interface FaultOptions {
  readonly world: World;
  readonly members: readonly Member[];
  readonly plainMembers: readonly PlainMember[];
  readonly scenario: Scenario;
  readonly random: Random;
  /** For what is done beside the rest. */
  readonly asides: Random;
}

/** Does one thing after another to the parts of a run; what takes its time overlaps with what comes after it. */
export class Faults {
  readonly #options: FaultOptions;
  /** What is being done, by its target: to one target one thing at a time. */
  readonly #busy = new Map<string, Promise<void>>();

  constructor(options: FaultOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { random, asides, scenario } = this.#options;
    while (!signal.aborted) {
      this.#act(random.weighted(scenario.weights), random);
      if (asides.chance(scenario.asideShare)) this.#act(asides.weighted(scenario.asides), asides);
      const pause = random.below(2 * scenario.actionMilliseconds);
      await sleep(pause, undefined, { signal }).catch(() => undefined);
    }
    await Promise.all(this.#busy.values());
  }

  #act(action: Action, random: Random): void {
    const { world, members, scenario } = this.#options;
    const index = random.below(world.gateways.length);
    const member = random.pick(members);
    const milliseconds = random.below(scenario.longestMilliseconds);
    const told = `${action} ${index} ${member.name} ${milliseconds} ms`;
    const target = this.#targetOf(action, index, milliseconds);
    if (target !== undefined) this.#once(target[0], told, target[1]);
    else if (action === "ping") member.ping();
    else {
      world.findings.tell(told);
      this.#actOnClient(action, member, milliseconds, random);
    }
  }

  /** @returns what is acted on, and how, unless it is a client */
  #targetOf(action: Action, index: number, milliseconds: number): [string, () => Promise<void>] | undefined {
    const { world } = this.#options;
    const gateway = world.gateways[index] as GatewayProcess;
    switch (action) {
      case "kill gateway":
      case "stop gateway":
        return [gateway.name, () => this.#restart(gateway, action, milliseconds)];
      case "kill database":
        return ["database", () => world.server.restart()];
      case "stall database":
        return ["database", () => this.#stallDatabase(milliseconds)];
      case "refuse streams":
        return ["streams", () => world.refuseStreams(milliseconds)];
      case "cut":
        return [`proxy ${index}`, async () => world.proxies[index]?.cut()];
      case "blackhole":
        return [`proxy ${index}`, () => this.#blackhole(index, milliseconds)];
      case "drop":
        return ["fleeting", () => world.drop("fleeting")];
      default:
        return undefined;
    }
  }

  #actOnClient(action: Action, member: Member, milliseconds: number, random: Random): void {
    const { world, plainMembers } = this.#options;
    const to = action === "move" || action === "doze" ? random.pick(world.gateways) : member.gateway;
    if (action === "leave" || action === "move") {
      member.leave(milliseconds, to);
      if (plainMembers.length > 0 && random.chance(0.2)) random.pick(plainMembers).leave(to);
    } else if (action === "doze") member.leaveAndDoze(milliseconds, to);
    else if (action === "stall") void member.stall(milliseconds);
    else if (action === "rest") void member.rest(milliseconds);
    else if (action === "renew token") void member.authenticate(false);
    else if (action === "change claims") void member.authenticate(true);
    else member.renew(action === "begin anew" ? "with rows" : action === "begin live" ? "live" : "as it is");
  }

  #once(target: string, told: string, what: () => Promise<void>): void {
    if (this.#busy.has(target)) return;
    this.#options.world.findings.tell(told);
    const done = what().finally(() => this.#busy.delete(target));
    this.#busy.set(target, done);
  }

  async #restart(
    gateway: GatewayProcess,
    action: "kill gateway" | "stop gateway",
    milliseconds: number,
  ): Promise<void> {
    await gateway.end(action === "kill gateway" ? "SIGKILL" : "SIGTERM");
    await sleep(milliseconds / 4);
    await gateway.start();
    this.#options.world.findings.tell(`${gateway.name} is back`);
  }

  async #stallDatabase(milliseconds: number): Promise<void> {
    const { server } = this.#options.world;
    await server.kill("SIGSTOP");
    await sleep(milliseconds);
    await server.kill("SIGCONT");
  }

  async #blackhole(index: number, milliseconds: number): Promise<void> {
    const proxy = this.#options.world.proxies[index];
    proxy?.blackhole();
    await sleep(milliseconds);
    proxy?.heal();
    // What was held back is gone: a healed network's connections find that out by a reset.
    proxy?.cut();
  }
}
