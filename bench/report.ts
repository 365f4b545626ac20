export interface Measurement {
  name: string;
  /** What the figures are, such as "CPU per delivered message". */
  what: string;
  unit: string;
  /** One figure for each round, in pairs; none for the floor where it does nothing of the kind. */
  floor: number[];
  gateway: number[];
  /** How the gateway's figure is set beside the floor's; "figure": as a ratio, but the target is one for itself. */
  comparison: "ratio" | "difference" | "figure";
  /** The comparison, or the figure, is to be at most this; undefined where none was set. */
  target?: number;
}

export interface Outcome {
  measurements: Measurement[];
  /** What makes the run invalid, such as messages that did not arrive. */
  invalid: string[];
  /** What makes its figures doubtful, such as a writer that did not keep its pace. */
  doubts: string[];
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

export interface Summary extends Omit<Measurement, "floor" | "gateway"> {
  rounds: { floor: number; gateway: number; compared: number }[];
  floor: Spread;
  gateway: Spread;
  compared: Spread;
  /** Undefined where there is no target, or no valid figure. */
  reached: boolean | undefined;
  valid: boolean;
}

/** @param numbers - at least one */
export function spread(numbers: readonly number[]): Spread {
  const sorted = [...numbers].sort((a, b) => a - b);
  return { median: quantile(sorted, 0.5), min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

/** @param sorted - ascending @param part - between 0 and 1; between two numbers the value is interpolated */
export function quantile(sorted: readonly number[], part: number): number {
  const place = part * (sorted.length - 1);
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/**
 * Each round is compared by itself, for the machine's mood changes more between rounds than within one.
 *
 * @param valid - whether the run did what it was to do
 */
export function summarise(measurement: Measurement, valid: boolean): Summary {
  const { floor, gateway, ...rest } = measurement;
  const rounds = gateway.map((figure, index) => {
    const base = floor[index] ?? Number.NaN;
    return { floor: base, gateway: figure, compared: rest.comparison === "difference" ? figure - base : figure / base };
  });
  const compared = spread(rounds.map((round) => round.compared));
  const judged = rest.comparison === "figure" ? spread(gateway) : compared;
  const reached = rest.target === undefined || !valid ? undefined : judged.median <= rest.target;
  return { ...rest, rounds, floor: spread(floor), gateway: spread(gateway), compared, reached, valid };
}

/** @returns the measures as a table for people, one line each, with its rounds' smallest and largest figure */
export function table(summaries: readonly Summary[], gatewayName: string): string {
  const rows = [
    ["measure", "what", "floor", gatewayName, `${gatewayName} beside floor`, "target", "reached"],
    ...summaries.map((summary) => [
      summary.name,
      `${summary.what}, ${summary.unit}`,
      range(summary.floor),
      range(summary.gateway),
      compared(summary),
      target(summary),
      summary.valid ? verdict(summary.reached) : "INVALID",
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function verdict(reached: boolean | undefined): string {
  if (reached === undefined) return "";
  return reached ? "yes" : "no";
}

function compared({ comparison, compared, unit }: Summary): string {
  if (Number.isNaN(compared.median)) return "-";
  if (comparison !== "difference") return `${range(compared)} x`;
  return `${signed(compared.median)} ${unit} (${signed(compared.min)} to ${signed(compared.max)})`;
}

function target({ comparison, target, unit }: Summary): string {
  if (target === undefined) return "";
  if (comparison === "figure") return `${target} ${unit}`;
  return comparison === "ratio" ? `${target} x` : `${signed(target)} ${unit}`;
}

function range({ median, min, max }: Spread): string {
  if (Number.isNaN(median)) return "-";
  return `${digits(median)} (${digits(min)} to ${digits(max)})`;
}

function signed(figure: number): string {
  return (figure < 0 ? "-" : "+") + digits(Math.abs(figure));
}

function digits(figure: number): string {
  return figure.toFixed(figure >= 100 ? 0 : figure >= 10 ? 1 : 2);
}
