import { expect } from "chai";
import { decoding as floorDecoding } from "../../bench/stream.js";
import { decoding } from "../../src/database.js";

describe("The floor of the benchmarks", () => {
  it("decodes documents as the gateway does", () => {
    expect(floorDecoding).to.deep.equal(decoding);
  });
});
