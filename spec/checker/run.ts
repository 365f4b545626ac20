import { setTimeout as sleep } from "node:timers/promises";
import type { OwnServer } from "../support/server.js";
import { checkEpochs, differences } from "./compare.js";
import { Faults } from "./faults.js";
import { Findings, type Kind } from "./findings.js";
import { Identity } from "./identity.js";
import { checkLeftOver } from "./left-over.js";
import { Member } from "./member.js";
import { Places } from "./places.js";
import { PlainMember } from "./plain-member.js";
import { createRandom, type Random } from "./random.js";
import type { Scenario } from "./scenarios.js";
import { Sight } from "./sight.js";
import {
  type InterfaceName,
  interfaces,
  largestWanted,
  largeWanted,
  randomWanted,
  type User,
  users,
  type Wanted,
  wanted,
} from "./views.js";
import { World } from "./world.js";

export interface CheckerOptions {
  readonly seed: number;
  readonly scenario: Scenario;
  /** How long faults and writes go on. */
  readonly seconds: number;
  readonly server: OwnServer;
  /** Where the gateway's sources are, if they are a copy. */
  readonly root?: string;
  /** Ends the run as soon as one of these was found. */
  readonly until?: readonly Kind[];
}

export interface Outcome {
  readonly findings: Findings;
  /** How much was seen, to tell a run in which nothing happened from one in which nothing went wrong. */
  readonly counts: Readonly<Record<string, number>>;
}

const settleMilliseconds = 90_000;
/** How long a plain connection may take to show the last change: it can't be asked how far it is. */
const plainMilliseconds = 15_000;

/** Runs writers, clients and faults for a while, waits until it is quiet, and compares. */
export async function runChecker(options: CheckerOptions): Promise<Outcome> {
  const findings = new Findings();
  const world = await World.create({ ...options, findings });
  try {
    return await new Run(options, world, findings).run();
  } finally {
    await world.dispose();
  }
}

class Run {
  readonly #options: CheckerOptions;
  readonly #world: World;
  readonly #findings: Findings;
  /** By what the user's token says. */
  readonly #sights = new Map<string, Sight>();
  readonly #places: Places;
  readonly #members: Member[] = [];
  readonly #plainMembers: PlainMember[] = [];

  constructor(options: CheckerOptions, world: World, findings: Findings) {
    this.#options = options;
    this.#world = world;
    this.#findings = findings;
    this.#places = new Places(findings);
  }

  async run(): Promise<Outcome> {
    const { scenario, seed } = this.#options;
    await this.#world.beginWriting();
    await this.#join();
    const faulting = new AbortController();
    const faults = new Faults({
      world: this.#world,
      members: this.#members.filter(({ name }) => !name.startsWith("witness")),
      plainMembers: this.#plainMembers,
      scenario,
      random: createRandom(seed, "faults"),
      asides: createRandom(seed, "asides"),
    });
    const running = faults.run(faulting.signal);
    const deadline = performance.now() + this.#options.seconds * 1_000;
    while (performance.now() < deadline && !this.#isFound) await sleep(50);
    faulting.abort();
    await running;
    for (const member of this.#members) member.settle();
    await this.#world.endWriting();
    if (!this.#isFound) await this.#finish();
    await Promise.all([...this.#members, ...this.#plainMembers].map((member) => member.close()));
    const gateways = this.#world.gateways.filter(({ isUp }) => isUp);
    if (!this.#isFound) await checkLeftOver(gateways, this.#findings);
    for (const gateway of this.#world.gateways) {
      await gateway.end("SIGTERM");
      gateway.checkLog();
    }
    return { findings: this.#findings, counts: this.#counts() };
  }

  get #isFound(): boolean {
    const { until = [] } = this.#options;
    return until.some((kind) => this.#findings.kinds.has(kind));
  }

  async #join(): Promise<void> {
    const { scenario, seed } = this.#options;
    const { gateways } = this.#world;
    for (const gateway of gateways) {
      const random = createRandom(seed, `witness of ${gateway.name}`);
      const options = await this.#memberOptions(`witness of ${gateway.name}`, null, random);
      this.#members.push(new Member({ ...options, wanted: [wanted("open", null)] }, gateway));
    }
    for (let index = 0; index < scenario.clients; index++) {
      const name = `client ${index}`;
      const random = createRandom(seed, name);
      const user = users[index % users.length] ?? null;
      const { fewestSubscriptions: fewest } = scenario;
      const length = fewest + random.below(4 - fewest);
      const views = Array.from({ length }, () => this.#wanted(random, user));
      const options = await this.#memberOptions(name, user, random);
      this.#members.push(new Member({ ...options, wanted: views }, random.pick(gateways)));
    }
    for (let index = 0; index < scenario.plainClients; index++) {
      const name = `plain client ${index}`;
      const random = createRandom(seed, name);
      const user = users[index % users.length] ?? null;
      const readable = scenario.interfaces.filter((each) => interfaces[each].rule(user) !== null);
      const view = wanted(random.pick<InterfaceName>(readable), user);
      const { identity, ...options } = await this.#memberOptions(name, user, random);
      const plainOptions = { ...options, headers: identity.headers };
      this.#plainMembers.push(new PlainMember(plainOptions, view, random.pick(gateways)));
    }
  }

  #wanted(random: Random, user: User | null): Wanted {
    const { seed, scenario } = this.#options;
    const { viewsPerUser, interfaces } = scenario;
    if (viewsPerUser === undefined) return randomWanted(random, user, interfaces);
    if (viewsPerUser === 0) return largestWanted;
    return largeWanted(createRandom(seed, `${user?.sub} ${random.below(viewsPerUser)}`), user, interfaces);
  }

  async #memberOptions(name: string, user: User | null, random: Random) {
    const { tokenOf } = this.#world;
    const sightOf = (user: User | null): Sight => this.#sightOf(user);
    const token = user === null ? undefined : await tokenOf(user);
    return {
      name,
      identity: new Identity({ user, token, tokenOf, sightOf }),
      sight: sightOf(user),
      findings: this.#findings,
      places: this.#places,
      random,
      readsMuch: this.#options.scenario.paddingKilobytes > 0,
      dropped: (collection: string, since: number) => this.#world.wasDropped(collection, since),
    };
  }

  #sightOf(user: User | null): Sight {
    const key = JSON.stringify(user);
    const found = this.#sights.get(key) ?? new Sight(user, this.#world.ledger, this.#findings);
    this.#sights.set(key, found);
    return found;
  }

  /** Waits until every client has been told everything, and compares what it holds. */
  async #finish(): Promise<void> {
    const deadline = performance.now() + settleMilliseconds;
    const writer = this.#world.writers[0];
    const id = await writer?.sentinel("open");
    this.#findings.tell(`quiet, but for ${id}`);
    const reached = new Map<string, string>();
    for (;;) {
      const late = this.#members.filter((member) => !this.#isSettled(member, id ?? "", reached));
      if (late.length === 0) break;
      if (performance.now() > deadline) {
        for (const { name, isComplete, pong } of late)
          this.#findings.add("not settled", name, `${isComplete ? "complete" : "not complete"} at ${pong}`);
        return;
      }
      for (const member of late) member.ping();
      await sleep(50);
    }
    await this.#compare();
  }

  /** A witness has seen the last write; the others are where the gateway then was. */
  #isSettled(member: Member, id: string, reached: Map<string, string>): boolean {
    const { gateway, name } = member;
    const place = reached.get(gateway.name);
    if (name.startsWith("witness")) {
      if (place === undefined && member.replicas[0]?.rows.has(id))
        reached.set(gateway.name, member.replicas[0].position ?? "");
      return reached.has(gateway.name);
    }
    return place !== undefined && member.isComplete && member.pong >= place;
  }

  async #compare(): Promise<void> {
    const { db, ledger } = this.#world;
    for (const member of this.#members) {
      for (const replica of member.replicas) {
        const told = await differences(db, member.wantedOf(replica), replica.rows, replica.toldOf);
        for (const each of told.slice(0, 3))
          this.#findings.add(
            "differs",
            replica.who,
            `${each} (${told.length} differ, of ${JSON.stringify(replica.wanted)})`,
          );
        checkEpochs(replica, ledger, this.#findings);
      }
    }
    for (const member of this.#plainMembers) {
      let told: string[];
      const deadline = performance.now() + plainMilliseconds;
      do {
        told = member.isReady ? await differences(db, member.wanted, member.rows) : ["not ready"];
        if (told.length > 0) await sleep(100);
      } while (told.length > 0 && performance.now() < deadline);
      for (const each of told.slice(0, 3))
        this.#findings.add("differs", member.name, `${each} (${told.length} differ)`);
    }
  }

  #counts(): Record<string, number> {
    const counts = {
      writes: this.#world.ledger.writes,
      plainChanges: 0,
      changes: 0,
      snapshots: 0,
      live: 0,
      recoveries: 0,
      resets: 0,
      ruleChanges: 0,
    };
    for (const { changes } of this.#plainMembers) counts.plainChanges += changes;
    for (const { replicas } of this.#members) {
      for (const replica of replicas) {
        for (const [name, count] of Object.entries(replica.counts))
          counts[name as keyof typeof replica.counts] += count;
      }
    }
    return counts;
  }
}
