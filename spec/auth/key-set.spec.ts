import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import { jwtVerify } from "jose";
import { createKeySet, type KeyOf, type KeySetTimes } from "../../src/auth/key-set.js";
import { settingsOf } from "../../src/config/load.js";
import { RequestError } from "../../src/errors.js";
import { createHttpClient, type HttpClient } from "../../src/http-client.js";
import { createLog } from "../../src/log.js";
import { createMetrics, type Metrics } from "../../src/metrics.js";
import { createKey, type Issuer, type IssuerKey, startIssuer } from "./issuer.js";

describe("the key set of an issuer", () => {
  let issuer: Issuer;
  let old: IssuerKey;
  let fresh: IssuerKey;
  let logged: Record<string, unknown>[];
  let metrics: Metrics;
  let http: HttpClient;

  before(async () => {
    [old, fresh] = await Promise.all([createKey("old"), createKey("fresh")]);
  });
  beforeEach(async () => {
    logged = [];
    metrics = createMetrics();
    http = createHttpClient({ ...settingsOf({}, {}).http, userAgent: "gate/1", retries: 0 }, metrics);
    issuer = await startIssuer([old.jwk]);
  });
  afterEach(() => issuer.close());

  function keySet(times: Partial<KeySetTimes> = {}): KeyOf {
    const log = createLog("debug", { write: (line: string) => void logged.push(JSON.parse(line)) });
    const all = { fetch: 1_000, maxAge: 600_000, cooldown: 10_000, failurePause: 0, ...times };
    return createKeySet(issuer.url, { http, log, times: all });
  }

  async function outcome(keys: KeyOf, key: IssuerKey): Promise<string> {
    try {
      return `user ${(await jwtVerify(await key.sign({ sub: "u1" }), keys)).payload.sub}`;
    } catch (error) {
      return error instanceof RequestError ? `${error.status} ${error.code}` : (error as { code: string }).code;
    }
  }

  const away = (response: ServerResponse): void => {
    response.statusCode = 503;
    response.end();
  };
  const unknown = "ERR_JWKS_NO_MATCHING_KEY";

  it("is fetched when it is first needed, once for all who wait, by the shared client", async () => {
    const agents: unknown[] = [];
    const { answer } = issuer;
    issuer.answer = (response) => {
      agents.push(response.req.headers["user-agent"]);
      answer(response);
    };
    const keys = keySet();
    expect(issuer.requests).to.equal(0);
    const all = await Promise.all(Array.from({ length: 50 }, () => outcome(keys, old)));
    expect(new Set(all)).to.deep.equal(new Set(["user u1"]));
    expect(agents).to.deep.equal(["gate/1"]);
    expect((await metrics.httpClientRequests.get()).values[0]?.value).to.equal(1);
  });

  it("is fetched again for a key that is new, and the old one goes", async () => {
    const keys = keySet({ cooldown: 0 });
    expect(await outcome(keys, old)).to.equal("user u1");
    issuer.keys = [fresh.jwk];
    expect(await outcome(keys, fresh)).to.equal("user u1");
    expect(await outcome(keys, old)).to.equal(unknown);
  });

  it("is fetched at most once a cooldown for names of keys that anyone may invent", async () => {
    const keys = keySet({ cooldown: 60_000 });
    expect(await outcome(keys, old)).to.equal("user u1");
    for (let n = 0; n < 20; n++) expect(await outcome(keys, fresh)).to.equal(unknown);
    expect(issuer.requests).to.equal(1);
    const hasty = keySet({ cooldown: 50 });
    expect(await outcome(hasty, old)).to.equal("user u1");
    expect(issuer.requests).to.equal(2);
    await sleep(60);
    expect(await outcome(hasty, fresh)).to.equal(unknown);
    expect(issuer.requests).to.equal(3);
  });

  it("forgets a key that was withdrawn when its age is over", async () => {
    const keys = keySet({ maxAge: 100 });
    expect(await outcome(keys, old)).to.equal("user u1");
    issuer.keys = [fresh.jwk];
    await sleep(110);
    expect(await outcome(keys, old)).to.equal(unknown);
  });

  describe("in an outage", () => {
    it("says that tokens can't be checked while nothing was ever fetched, and works as soon as it can be", async () => {
      const { answer } = issuer;
      issuer.answer = away;
      const keys = keySet();
      expect(await outcome(keys, old)).to.equal("503 auth-unavailable");
      issuer.answer = answer;
      expect(await outcome(keys, old)).to.equal("user u1");
    });

    it("goes on with the keys that it has, and can't tell about others", async () => {
      const keys = keySet({ maxAge: 0, cooldown: 0 });
      expect(await outcome(keys, old)).to.equal("user u1");
      issuer.close();
      for (let n = 0; n < 3; n++) expect(await outcome(keys, old)).to.equal("user u1");
      expect(await outcome(keys, fresh)).to.equal("503 auth-unavailable");
    });

    it("asks again after a pause only, however many tokens come", async () => {
      issuer.answer = away;
      const keys = keySet({ failurePause: 60_000 });
      for (let n = 0; n < 20; n++) expect(await outcome(keys, old)).to.equal("503 auth-unavailable");
      expect(issuer.requests).to.equal(1);
      expect(logged.length).to.equal(1);
      const hasty = keySet({ failurePause: 50 });
      expect(await outcome(hasty, old)).to.equal("503 auth-unavailable");
      await sleep(60);
      expect(await outcome(hasty, old)).to.equal("503 auth-unavailable");
      expect(issuer.requests).to.equal(3);
    });

    for (const when of ["before", "in the middle of"]) {
      it(`waits for an issuer that hangs ${when} its answer no longer than allowed, and with keys once only`, async () => {
        const keys = keySet({ fetch: 1_500, maxAge: 50 });
        expect(await outcome(keys, old)).to.equal("user u1");
        const given: Promise<unknown>[] = [];
        issuer.answer = (response) => {
          given.push(once(response, "close"));
          if (when !== "before") response.write('{"keys":[');
        };
        await sleep(60);
        const started = performance.now();
        expect(await outcome(keys, old)).to.equal("user u1");
        expect(performance.now() - started).to.be.within(1_400, 8_000);
        const again = performance.now();
        expect(await outcome(keys, old)).to.equal("user u1");
        expect(performance.now() - again).to.be.lessThan(1_000);
        await Promise.all(given);
      });
    }

    /** To where the right set is, which would be taken if the redirect was followed. */
    const redirect = (response: ServerResponse): void => {
      if (response.req.url === "/moved") response.end(JSON.stringify({ keys: issuer.keys }));
      else response.writeHead(302, { location: "/moved" }).end();
    };
    const nonsense: [name: string, answer: (response: ServerResponse) => void][] = [
      ["what is no JSON", (response) => void response.end("<html>")],
      ["JSON that is no key set", (response) => void response.end('{"error":"x"}')],
      ["nothing", (response) => void response.socket?.destroy()],
      ["an address somewhere else", (response) => void redirect(response)],
    ];
    for (const [name, answer] of nonsense) {
      it(`takes ${name} for an outage, and logs nothing but the host`, async () => {
        const { answer: right } = issuer;
        issuer.answer = answer;
        const keys = keySet();
        expect(await outcome(keys, old)).to.equal("503 auth-unavailable");
        expect(logged[0]).to.deep.include({ msg: "key set not fetched", host: new URL(issuer.url).host });
        expect(JSON.stringify(logged)).to.not.contain("canary-address");
        issuer.answer = right;
        expect(await outcome(keys, old)).to.equal("user u1");
      });
    }
  });
});
