/** Chance that can be had again: the same seed and name give the same numbers. */
export interface Random {
  /** @returns a number from 0 to below 1 */
  fraction(): number;
  /** @returns a whole number from 0 to below the limit */
  below(limit: number): number;
  chance(probability: number): boolean;
  /** @returns one of them; there has to be one */
  pick<T>(choices: readonly T[]): T;
  /** @returns a name, each as often as its weight says; one of them has to be above 0 */
  weighted<Name extends string>(weights: Readonly<Partial<Record<Name, number>>>): Name;
}

/**
 * @param seed - of the run
 * @param name - who draws: everybody has numbers of their own, so that the turns that they take change nothing
 */
export function createRandom(seed: number, name: string): Random {
  let state = seed >>> 0;
  for (const character of name) state = Math.imul(state ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;

  // mulberry32, by Tommy Ettinger, public domain
  function fraction(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  return {
    fraction,
    below: (limit) => Math.floor(fraction() * limit),
    chance: (probability) => fraction() < probability,
    pick: (choices) => choices[Math.floor(fraction() * choices.length)] as (typeof choices)[number],
    weighted(weights) {
      const entries = Object.entries(weights) as [keyof typeof weights & string, number][];
      let left = fraction() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        left -= weight;
        if (left < 0) return name as never;
      }
      return entries.at(-1)?.[0] as never;
    },
  };
}
