import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect } from "chai";
import { BSON } from "mongodb";
import { History } from "../../src/dispatcher/history.js";
import { Change } from "../../src/watcher/change.js";
import { RawEvent } from "../../src/watcher/raw-event.js";
import { eventually } from "../support/eventually.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe("the history", () => {
  /** An insert of about 100 KB. */
  function insertAt(position: string): Change {
    const fullDocument = { _id: position, text: "x".repeat(100_000) };
    return new Change("insert", new RawEvent(BSON.serialize({ operationType: "insert", fullDocument })), position);
  }

  it("keeps nothing of what has left it, however few those are", async () => {
    const history = new History({ events: 1_000, megabytes: 1 });
    history.begin("00");
    const pushed: WeakRef<Change>[] = [];
    for (let position = 10; position < 50; position++) {
      const change = insertAt(String(position));
      pushed.push(new WeakRef(change));
      history.push(change);
    }
    await eventually(async () => {
      // What a weak reference has been made of is kept until the turn of the event loop ends.
      await setImmediate();
      collectGarbage();
      return pushed.filter((each) => each.deref() !== undefined).length === history.size;
    });
    expect(history.size).to.be.within(5, 10);
    expect([history.start, history.placeAfter(history.start ?? ""), history.at(0)]).to.deep.equal(["40", 31, "gone"]);
  });
});
