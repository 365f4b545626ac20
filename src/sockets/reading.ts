/** Snapshots that are read for one connection at the same time: each may hold some megabytes until its rows have left. */
const atOnce = 4;

interface Reading {
  working: number;
  readonly waiting: (() => void)[];
}

/** Only of connections that are reading now. */
const readings = new WeakMap<object, Reading>();

/**
 * Reads a snapshot for a connection when it is its turn.
 *
 * @param channel - the connection
 */
export async function inTurn<Result>(channel: object, read: () => Promise<Result>): Promise<Result> {
  const reading = readings.get(channel) ?? { working: 0, waiting: [] };
  readings.set(channel, reading);
  if (reading.working < atOnce) reading.working += 1;
  else await new Promise<void>((resolve) => reading.waiting.push(resolve));
  try {
    return await read();
  } finally {
    const next = reading.waiting.shift();
    if (next !== undefined) next();
    else if (--reading.working === 0) readings.delete(channel);
  }
}
