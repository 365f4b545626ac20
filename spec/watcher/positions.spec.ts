import { expect } from "chai";
import { BSON, Timestamp } from "mongodb";
import type { Support } from "../../src/database.js";
import { createPositions } from "../../src/watcher/positions.js";
import { RawEvent } from "../../src/watcher/raw-event.js";

describe("positions", () => {
  const support = { isMongodb: false } as Support;
  const eventAt = (t: number, i: number): RawEvent =>
    new RawEvent(BSON.serialize({ operationType: "insert", clusterTime: new Timestamp({ t, i }) }));
  /** @returns seconds, increment and ordinal of each event that is not left out */
  function placesFrom(
    place: [t: number, i: number, ordinal: number],
    again: number | undefined,
    times: [number, number][],
  ) {
    const positions = createPositions({ tag: "00000000", support });
    positions.begin({ seconds: place[0], increment: place[1] }, place[2], again);
    const found = times.map(([t, i]) => positions.of(eventAt(t, i))).filter((position) => position !== undefined);
    return found.map((text) => [0, 8, 16].map((from) => Number.parseInt(text.slice(from, from + 8), 16)));
  }

  it("count the events of one time, and leave out those that were dispatched", () => {
    const times: [number, number][] = [
      [5, 1],
      [5, 1],
      [5, 1],
      [5, 2],
    ];
    const all = [
      [5, 1, 1],
      [5, 1, 2],
      [5, 1, 3],
      [5, 2, 1],
    ];
    expect(placesFrom([5, 1, 0], undefined, times)).to.deep.equal(all);
    expect(placesFrom([5, 1, 2], undefined, times)).to.deep.equal(all.slice(2));
    expect(placesFrom([5, 1, 0xffffffff], undefined, times)).to.deep.equal(all.slice(3));
  });

  it("go on in the middle of one time, after some of those that were dispatched", () => {
    const times: [number, number][] = [
      [5, 1],
      [5, 1],
      [5, 2],
    ];
    expect(placesFrom([5, 1, 3], 0, times)).to.deep.equal([
      [5, 1, 4],
      [5, 1, 5],
      [5, 2, 1],
    ]);
    expect(placesFrom([5, 1, 3], 1, times)).to.deep.equal([
      [5, 1, 4],
      [5, 2, 1],
    ]);
  });

  it("of events that are older than one before them are those of its time, also when they are read again", () => {
    // SecantusDB gives a transaction its time before its place, so that a write beside it can come first.
    const times: [number, number][] = [
      [5, 3],
      [5, 2],
      [5, 2],
      [5, 4],
    ];
    const all = [
      [5, 3, 1],
      [5, 3, 2],
      [5, 3, 3],
      [5, 4, 1],
    ];
    expect(placesFrom([5, 1, 0], undefined, times)).to.deep.equal(all);
    for (const count of [1, 2, 3]) {
      expect(placesFrom([5, 3, count], undefined, times)).to.deep.equal(all.slice(count));
      expect(placesFrom([5, 3, count], 0, times.slice(count))).to.deep.equal(all.slice(count));
    }
  });
});
