import type { Remedy } from "./error.js";

/** "At once" spreads the clients of a gateway that stopped over this long, in milliseconds. */
const jitterMilliseconds = 1_000;
/** After "too fast" and "too late", and as much again at random. */
const pauseMilliseconds = 10_000;
/** After a 503, and as much again at random. */
const refusalMilliseconds = 2_000;
const backoffMilliseconds = { base: 500, max: 30_000, floor: 100 };

/**
 * @param remedy - what the close code calls for
 * @param failures - connections in a row that did not work, this one included: trying those at once could go on for ever
 * @param random - a number in [0, 1)
 * @returns how long to wait before the next connection, in milliseconds
 */
export function waitFor(remedy: Remedy, failures: number, random = Math.random()): number {
  if (remedy === "pause") return pauseMilliseconds * (1 + random);
  if (failures === 0 && remedy === "token") return 0;
  if (failures === 0 && remedy === "soon") return jitterMilliseconds * random;
  return backoff(failures, random);
}

/** Doubles from half a second to half a minute, with full jitter, so that who failed together does not come back together. */
export function backoff(failures: number, random = Math.random()): number {
  const { base, max, floor } = backoffMilliseconds;
  return Math.max(floor, random * Math.min(max, base * 2 ** Math.max(0, failures - 1)));
}

/** @param refusals - how often in a row the database could not give the rows */
export function pauseAfterRefusal(refusals: number, random = Math.random()): number {
  return Math.min(backoffMilliseconds.max, refusalMilliseconds * 2 ** (refusals - 1) * (1 + random));
}
