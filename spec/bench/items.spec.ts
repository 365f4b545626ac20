import { expect } from "chai";
import { createItems, type Users, userId } from "../../bench/items.js";

describe("The documents of the benchmarks", () => {
  const usersOf = (users: Users, count: number): string[] => {
    const items = createItems(users);
    return Array.from({ length: count }, () => items.next().user.id as string);
  };

  it("are of one user after another, so that full rounds give each as many", () => {
    expect(usersOf({ count: 3 }, 6)).to.deep.equal([0, 1, 2, 0, 1, 2].map(userId));
  });

  it("are scattered so that those written together are of users of one part", () => {
    const users = usersOf({ count: 4_000, scattered: { together: 20, parts: 4 } }, 20 * 4 * 50);
    const partOf = (user: string): number => Math.floor(Number(user.slice(2)) / 1_000);
    expect(users.map(partOf)).to.deep.equal(users.map((_, index) => Math.floor(index / 20) % 4));
    expect(new Set(users).size).to.be.greaterThan(1_000);
  });

  it("have about the length that is told of them", () => {
    const item = createItems({ count: 100_000 }).next();
    const message = JSON.stringify({ interface: "items", operation: "insert", data: { ...item, id: "0".repeat(24) } });
    expect(message.length).to.be.within(300, 360);
  });

  it("are updated in turn, each of them a user's", () => {
    const items = createItems({ count: 2 }, 4);
    expect(items.updatable.map(({ user }) => user.id)).to.deep.equal([0, 1, 0, 1].map(userId));
    const updated = Array.from(
      { length: 4 },
      () => (items.nextUpdate() as { updateOne: { filter: { _id: unknown } } }).updateOne.filter._id,
    );
    expect(new Set(updated)).to.deep.equal(new Set(items.updatable.map(({ _id }) => _id)));
  });
});
