import { expect } from "chai";
import { createPatience } from "../../src/watcher/patience.js";

const minutes = 60_000;

/** @returns how long the opening is waited for when that has become as long as it can be, and between batches then */
function longest(socketTimeoutMilliseconds?: number): { opening: number; silence: number } {
  const patience = createPatience(6_000, socketTimeoutMilliseconds);
  while (patience.lengthen());
  return { opening: patience.openingMilliseconds, silence: patience.silenceMilliseconds };
}

describe("the patience with a silent server", () => {
  it("doubles with every failure, and begins anew when a batch has come", () => {
    const patience = createPatience(6_000);
    patience.lengthen();
    patience.lengthen();
    expect(patience).to.include({ openingMilliseconds: 24_000, silenceMilliseconds: 24_000 });
    patience.reset();
    expect(patience).to.include({ openingMilliseconds: 6_000, silenceMilliseconds: 6_000 });
  });

  it("is ten minutes at last with a stream that is to be opened, which outlasts the driver's limit for a socket", () => {
    expect(longest(60_000)).to.deep.equal({ opening: 10 * minutes, silence: 50_000 });
    expect(longest()).to.deep.equal({ opening: 10 * minutes, silence: 50_000 });
  });

  it("follows a larger socketTimeoutMS of the URI", () => {
    expect(longest(30 * minutes)).to.deep.equal({ opening: 30 * minutes, silence: 30 * minutes - 10_000 });
  });
});
