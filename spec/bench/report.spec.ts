import { expect } from "chai";
import { type Measurement, summarise, table } from "../../bench/report.js";

describe("The report of the benchmarks", () => {
  const measurement: Measurement = {
    ...{ name: "return", what: "until ready", unit: "s", floor: [2, 1], gateway: [6, 8], target: 10 },
    comparison: "figure",
  };

  it("sets a target of its own kind beside the figure, not beside its ratio", () => {
    expect(summarise(measurement, true)).to.deep.include({ reached: true, compared: { median: 5.5, min: 3, max: 8 } });
    expect(summarise({ ...measurement, gateway: [11, 12], floor: [11, 12] }, true).reached).to.equal(false);
    expect(table([summarise(measurement, true)], "gateway")).to.match(
      /7\.00 .* 5\.50 \(3\.00 to 8\.00\) x +10 s +yes$/,
    );
  });

  it("has no comparison where the floor does nothing of the kind", () => {
    const summary = summarise({ ...measurement, floor: [] }, true);
    expect(summary.reached).to.equal(true);
    expect(table([summary], "gateway")).to.match(/ - {2,}7\.00 \(6\.00 to 8\.00\) {2,}- {2,}10 s +yes$/);
  });

  it("has no verdict for a run that was not valid", () => {
    expect(summarise(measurement, false).reached).to.equal(undefined);
    expect(table([summarise(measurement, false)], "gateway")).to.match(/INVALID$/);
  });

  it("compares round by round", () => {
    const ratio = summarise({ ...measurement, comparison: "ratio", target: 5.5 }, true);
    expect(ratio).to.deep.include({ reached: true, compared: { median: 5.5, min: 3, max: 8 } });
    const difference = summarise({ ...measurement, comparison: "difference", target: 5.4 }, true);
    expect(difference).to.deep.include({ reached: false, compared: { median: 5.5, min: 4, max: 7 } });
  });
});
