import { expect } from "chai";
import { addFaults, describeFaults, Follower } from "../../bench/follower.js";

const view = "a-view";
const text = "x".repeat(300);

describe("The follower of the benchmarks", () => {
  it("takes changes in order and goes on from the last one, in the view that it was ready in", () => {
    const { follower, tell } = ready(5);
    tell(change(6, 5), change(9, 6));
    expect(follower.changes).to.equal(2);
    expect(describeFaults(follower.faults)).to.deep.equal([]);
    expect(JSON.parse(follower.subscribe("1", { interface: "items" }))).to.deep.equal({
      ...{ type: "subscribe", id: "1", interface: "items" },
      ...{ since: position(9), view },
    });
  });

  it("finds a gap", () => {
    const { follower, tell } = ready(5);
    tell(change(7, 6));
    expect(describeFaults(follower.faults)).to.deep.equal(["1 gaps"]);
  });

  it("finds a change that comes again, and one from before its ready", () => {
    const { follower, tell } = ready(5);
    tell(change(6, 5), change(6, 5), change(4, 3));
    expect(follower.changes).to.equal(1);
    expect(describeFaults(follower.faults)).to.deep.equal(["2 changes that came again"]);
  });

  it("finds changes of a view that it does not have", () => {
    const { follower, tell } = ready(5);
    tell(change(6, 5, { view: "another" }));
    expect(describeFaults(follower.faults)).to.deep.equal(["1 changes that are not the subscription's"]);
  });

  it("finds documents that do not belong to the subscription", () => {
    const { follower, tell } = ready(5, (id, document) => (document as { id: string }).id === id);
    tell(change(6, 5, { data: { id: "1", text } }), change(7, 6, { data: { id: "2", text } }));
    expect(follower.changes).to.equal(1);
    expect(follower.faults.strays).to.equal(1);
  });

  it("finds a replay that begins elsewhere than where it stood", () => {
    const { follower, tell } = ready(5);
    tell(change(6, 5));
    follower.subscribe("1", { interface: "items" });
    expect(follower.isReady).to.equal(false);
    tell({ type: "ready", id: "1", view, position: position(5), recovered: true });
    expect(follower.faults.gaps).to.equal(1);
  });

  it("follows a replay from where it stood, and counts on", () => {
    const { follower, tell } = ready(5);
    tell(change(6, 5));
    follower.subscribe("1", { interface: "items" });
    tell({ type: "ready", id: "1", view, position: position(6), recovered: true }, change(8, 6));
    expect(follower.isReady).to.equal(true);
    expect(follower.changes).to.equal(2);
    expect(describeFaults(follower.faults)).to.deep.equal([]);
  });

  it("notes resets and errors, and asks for everything after one", () => {
    const { follower, tell } = ready(5);
    tell({ type: "reset", id: "1", view, reason: "too-far-behind" }, { type: "error", id: "1", code: "too-busy" });
    expect(describeFaults(follower.faults)).to.deep.equal([
      "1 times `reset too-far-behind`",
      "1 times `error too-busy`",
    ]);
    expect(JSON.parse(follower.subscribe("1", { interface: "items" }))).not.to.have.any.keys("since", "view");
  });

  it("is moved on by progress and by a delete that removes nothing, which is no change", () => {
    const { follower, tell } = ready(5, () => false);
    tell({ type: "progress", position: position(7) }, change(9, 7, { operation: "delete", data: [] }));
    tell({ type: "progress", position: position(8) }, change(12, 9, { operation: "delete", data: [] }));
    expect(follower.changes).to.equal(0);
    expect(describeFaults(follower.faults)).to.deep.equal([]);
  });

  it("is ready when all of its subscriptions are, and keeps them apart", () => {
    const follower = new Follower((id, document) => (document as { id: string }).id === id);
    for (const id of ["1", "2"]) follower.subscribe(id, { interface: "items" });
    tellTo(follower, { type: "ready", id: "1", view: "one", position: position(1), recovered: false });
    expect(follower.isReady).to.equal(false);
    tellTo(follower, { type: "ready", id: "2", view: "two", position: position(5), recovered: false });
    expect(follower.isReady).to.equal(true);
    tellTo(follower, change(6, 5, { view: "two", data: { id: "2", text } }));
    tellTo(follower, change(3, 1, { view: "one", data: { id: "1", text } }));
    expect(describeFaults(follower.faults)).to.deep.equal([]);
    expect(follower.changes).to.equal(2);
  });

  it("reads a change whose members stand in another order", () => {
    const { follower, tell } = ready(5);
    const { previous, ...rest } = change(6, 5);
    tell({ interface: "items", previous, ...rest });
    expect(follower.changes).to.equal(1);
  });

  it("adds up what many found", () => {
    const faulty = (reason: string) => ({ gaps: 1, repeats: 2, strays: 3, notices: { [reason]: 1 } });
    expect(addFaults([faulty("a"), faulty("b"), faulty("a")])).to.deep.equal({
      ...{ gaps: 3, repeats: 6, strays: 9 },
      notices: { a: 2, b: 1 },
    });
  });
});

function ready(at: number, belongs?: (id: string, document: unknown) => boolean) {
  const follower = new Follower(belongs);
  follower.subscribe("1", { interface: "items" });
  tellTo(follower, { type: "welcome" }, { type: "snapshot", id: "1", interface: "items", data: [], last: true });
  tellTo(follower, { type: "ready", id: "1", view, position: position(at), recovered: false });
  return { follower, tell: (...messages: object[]) => tellTo(follower, ...messages) };
}

function tellTo(follower: Follower, ...messages: object[]): void {
  for (const message of messages) follower.take(new Uint8Array(Buffer.from(JSON.stringify(message))));
}

function change(at: number, previous: number, other: object = {}): Record<string, unknown> {
  return {
    ...{ interface: "items", operation: "insert", data: { id: "1", text }, view },
    ...{ position: position(at), previous: position(previous) },
    ...other,
  };
}

function position(at: number): string {
  return at.toString(16).padStart(32, "0");
}
