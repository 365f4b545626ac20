import { expect } from "chai";
import { MongoNetworkError, MongoServerError, MongoServerSelectionError, type TopologyDescription } from "mongodb";
import { recoveryFrom } from "../../src/watcher/failure.js";
import { SilentStreamError, StreamEndedError } from "../../src/watcher/stream.js";

const server = (code: number, labels: string[] = []): MongoServerError => {
  const error = new MongoServerError({ message: "no", code });
  for (const label of labels) error.addErrorLabel(label);
  return error;
};
const label = ["ResumableChangeStreamError"];

describe("what a failed stream calls for", () => {
  const rows: [name: string, error: unknown, recovery: string][] = [
    ["a labelled error", server(6, label), "resume"],
    ["a cursor that is gone", server(43), "resume"],
    ["an error of the server without the label", server(6), "wait"],
    ["a missing privilege", server(13), "wait"],
    ["a time limit", server(50, label), "shrink"],
    ["a silent stream", new SilentStreamError(6_000), "shrink"],
    ["a stream that the server ended", new StreamEndedError(), "resume"],
    ["an unusable token", server(260), "new-epoch"],
    ["a fatal error of the stream", server(280), "new-epoch"],
    ["lost history, even when labelled", server(286, label), "new-epoch"],
    ["an event that can't be sent", server(10334), "new-epoch"],
    ["a network error", new MongoNetworkError("cut"), "resume"],
    ["no server to be found", new MongoServerSelectionError("none", {} as TopologyDescription), "resume"],
    [
      "a broken pipe that the driver let out",
      Object.assign(new Error("write EPIPE"), { code: "EPIPE", syscall: "write" }),
      "resume",
    ],
    ["an error of our own", new TypeError("bug"), "wait"],
  ];
  for (const [name, error, recovery] of rows) {
    it(`${name}: ${recovery}`, () => {
      expect(recoveryFrom(error)).to.equal(recovery);
    });
  }
});
