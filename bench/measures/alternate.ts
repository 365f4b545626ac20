import type { Context, Side, Turn } from "../context.js";

/**
 * Measures floor and gateway in turn, round by round, so that both meet the same moods of the machine.
 *
 * @param measure - returns the figure of one turn
 * @returns the figures of each side, in the order of the rounds
 */
export async function alternate<Figure>(
  context: Context,
  name: string,
  measure: (turn: Turn, side: Side) => Promise<Figure>,
): Promise<{ floor: Figure[]; gateway: Figure[] }> {
  const figures: { floor: Figure[]; gateway: Figure[] } = { floor: [], gateway: [] };
  for (let round = 1; round <= context.rounds; round++) {
    for (const side of ["floor", "gateway"] as const) {
      context.progress(`${name}: round ${round} of ${context.rounds}, ${side}`);
      figures[side].push(await context.turn(side, (turn) => measure(turn, side)));
    }
  }
  return figures;
}
