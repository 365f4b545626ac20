import type { Context, Side, Turn } from "../context.js";
import type { Outcome } from "../report.js";
import { alternate } from "./alternate.js";

const milliseconds = 1_500;

/** Time for one match of a filter of three terms, beside mingo. */
export async function matcher(context: Context): Promise<Outcome> {
  const invalid: string[] = [];
  const figures = await alternate(context, "matcher", (turn, side) => once(context, turn, side, invalid));
  return {
    measurements: [
      {
        name: "matcher",
        what: "time per match, beside mingo",
        unit: "ns",
        ...figures,
        comparison: "ratio",
        target: 0.1,
      },
    ],
    invalid,
    doubts: [],
  };
}

async function once(context: Context, turn: Turn, side: Side, invalid: string[]): Promise<number> {
  const engine = side === "floor" || context.selfCheck ? "mingo" : "gateway";
  const measured = await turn.matcher().call("measure", { engine, milliseconds: milliseconds * context.scale });
  const { nanoseconds, matching, disputed } = measured;
  if (disputed > 0) invalid.push(`matcher, ${side}: the two disagree about ${disputed} documents`);
  context.progress(`matcher: ${engine} ${nanoseconds.toFixed(1)} ns; ${matching} documents match`);
  return nanoseconds;
}
