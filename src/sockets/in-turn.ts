/** Snapshots that are read for one connection at the same time: each may hold some megabytes until its rows have left. */
const snapshotsAtOnce = 4;

/**
 * Work for one connection that has to wait for its turn.
 *
 * @param channel - the connection
 */
export type InTurn = <Result>(channel: object, work: () => Promise<Result>) => Promise<Result>;

/** Reads a snapshot. */
export const readInTurn = createTurnsOfConnections(snapshotsAtOnce);

/**
 * Sends what was missed: one after another, for two replays of one view have to come in one order, and those of two views
 * gain nothing by being mixed.
 */
export const replayInTurn = createTurnsOfConnections(1);

/** Keeps something only of connections that have work. */
function createTurnsOfConnections(atOnce: number): InTurn {
  const connections = new WeakMap<object, { working: number; readonly waiting: (() => void)[] }>();
  return async (channel, work) => {
    const turns = connections.get(channel) ?? { working: 0, waiting: [] };
    connections.set(channel, turns);
    if (turns.working < atOnce) turns.working += 1;
    else await new Promise<void>((resolve) => turns.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = turns.waiting.shift();
      if (next !== undefined) next();
      else if (--turns.working === 0) connections.delete(channel);
    }
  };
}
