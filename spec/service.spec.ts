import { expect } from "chai";
import { createLog } from "../src/log.js";
import { once, type Service, startServices, stopServices } from "../src/service.js";

const log = createLog("silent");

describe("the start-up sequence", () => {
  let events: string[];
  const service = (name: string, act: Partial<Service> = {}): Service => ({
    name,
    async start() {
      events.push(`+${name}`);
    },
    stop: once(async () => {
      events.push(`-${name}`);
    }),
    ...act,
  });
  const options = () => ({ log, signal: new AbortController().signal, deadlineMilliseconds: 200 });

  beforeEach(() => {
    events = [];
  });

  it("starts in order and stops in reverse", async () => {
    const services = [service("a"), service("b"), service("c")];
    await startServices(services, options());
    expect(await stopServices(services, options())).to.deep.equal([]);
    expect(events).to.deep.equal(["+a", "+b", "+c", "-c", "-b", "-a"]);
  });

  it("stops what had started, and what failed half-way, when a start fails", async () => {
    const broken = service("b", {
      start: () => Promise.reject(new Error("no")),
    });
    const failure = await startServices([service("a"), broken, service("c")], options()).catch(
      (error: Error) => error.message,
    );
    expect(failure).to.equal("no");
    expect(events).to.deep.equal(["+a", "-b", "-a"]);
  });

  it("gives up when it is told to", async () => {
    const giveUp = new AbortController();
    const last = service("b", {
      async start() {
        giveUp.abort(new Error("enough"));
      },
    });
    const failure = await startServices([service("a"), last, service("c")], {
      ...options(),
      signal: giveUp.signal,
    }).catch((error: Error) => error.message);
    expect(failure).to.equal("enough");
    expect(events).to.deep.equal(["+a", "-b", "-a"]);
  });

  it("passes over a service that fails to stop or takes too long", async () => {
    const services = [
      service("a"),
      service("slow", { stop: () => new Promise(() => {}) }),
      service("bad", { stop: () => Promise.reject(new Error("no")) }),
      service("d"),
    ];
    expect(await stopServices(services, options())).to.deep.equal(["bad", "slow"]);
    expect(events).to.deep.equal(["-d", "-a"]);
  });
});
