import { expect } from "chai";
import { type Credentials, createAuthenticator } from "../../src/auth/authenticate.js";
import { settingsOf } from "../../src/config/load.js";
import type { AuthSettings, SessionLookup, SessionRequest, User } from "../../src/config/settings.js";
import { RequestError } from "../../src/errors.js";
import { createHttpClient } from "../../src/http-client.js";
import { createLog } from "../../src/log.js";
import { createMetrics } from "../../src/metrics.js";
import { signed } from "./issuer.js";

const secret = "a-secret-of-at-least-32-bytes-here";
const session: SessionRequest = { method: "GET", url: "/ws", headers: { "x-id": "7" }, remoteAddress: "127.0.0.1" };

describe("authentication", () => {
  let logged = "";
  let first: string;
  let second: string;

  before(async () => {
    first = await signed(secret, { sub: "first" });
    second = await signed(secret, { sub: "second" });
  });

  function createAuthenticate(auth: Partial<AuthSettings>) {
    const settings = settingsOf({ auth }, {});
    const log = createLog("debug", {
      write: (line: string) => {
        logged += line;
      },
    });
    return createAuthenticator(settings.auth, { http: createHttpClient(settings.http, createMetrics()), log });
  }

  async function outcome(credentials: Credentials, auth: Partial<AuthSettings> = { anonymous: true }): Promise<string> {
    try {
      const { user } = await createAuthenticate(auth).authenticate(credentials);
      return `user ${user === null ? "null" : user.sub}`;
    } catch (error) {
      return error instanceof RequestError ? `${error.status} ${error.code}` : String(error);
    }
  }

  it("takes a request without a token for an anonymous one, where those are allowed", async () => {
    expect(await outcome({})).to.equal("user null");
    expect(await outcome({ cookie: "theme=dark; xtailgate_token=1" })).to.equal("user null");
    expect(await outcome({ cookie: "tailgate_token=; theme=dark" })).to.equal("user null");
    expect(await outcome({}, {})).to.equal("401 unauthorized");
  });

  it("awaits nothing for an anonymous request", () => {
    expect(createAuthenticate({ anonymous: true }).authenticate({})).to.deep.equal({ user: null, endsAt: undefined });
  });

  it("refuses a token that can't be verified, even where anonymous requests are allowed", async () => {
    for (const auth of [{ anonymous: true }, { anonymous: true, jwt: { secret } }]) {
      expect(await outcome({ authorization: "Bearer a.b.c" }, auth)).to.equal("401 bad-token");
      expect(await outcome({ authorization: "bearer a.b.c" }, auth)).to.equal("401 bad-token");
      expect(await outcome({ authorization: "Digest x" }, auth)).to.equal("401 bad-token");
      expect(await outcome({ authorization: `Bearer ${first} ${first}` }, auth)).to.equal("401 bad-token");
      expect(await outcome({ authorization: "" }, auth)).to.equal("401 bad-token");
      expect(await outcome({ cookie: "a=b; tailgate_token=x=y" }, auth)).to.equal("401 bad-token");
    }
  });

  it("takes a token from the header, from the cookie, and from the query only where that is allowed", async () => {
    const jwt = { secret };
    expect(await outcome({ authorization: `Bearer ${first}` }, { jwt })).to.equal("user first");
    expect(await outcome({ authorization: `bearer   ${first}` }, { jwt })).to.equal("user first");
    expect(await outcome({ cookie: `a=b;tailgate_token=${first} ; c` }, { jwt })).to.equal("user first");
    expect(await outcome({ cookie: `tailgate_token="${first}"` }, { jwt })).to.equal("user first");
    expect(await outcome({ queryToken: first }, { jwt, queryToken: true })).to.equal("user first");
    expect(await outcome({ queryToken: first }, { jwt, anonymous: true })).to.equal("401 bad-token");
    expect(await outcome({ queryToken: "" }, { jwt, anonymous: true, queryToken: true })).to.equal("401 bad-token");
  });

  it("prefers what was sent on purpose to the cookie, which comes along unasked", async () => {
    const auth = { jwt: { secret }, queryToken: true, anonymous: true };
    const cookie = `tailgate_token=${second}`;
    const authorization = `Bearer ${first}`;
    expect(await outcome({ authorization, cookie, queryToken: second }, auth)).to.equal("user first");
    expect(await outcome({ queryToken: first, cookie }, auth)).to.equal("user first");
    // And does not fall back to it: who sent a bad token would be taken for another.
    expect(await outcome({ authorization: "Bearer x", cookie }, auth)).to.equal("401 bad-token");
  });

  describe("by sessions of the application", () => {
    const asked: SessionRequest[] = [];
    const lookUp: SessionLookup = async (request) => {
      asked.push(request);
      return request.headers["x-id"] === "7" ? { sub: "seven" } : null;
    };
    const sessions = lookUp;
    const stranger = { ...session, headers: {} };

    it("asks for the user of a request without a token", async () => {
      expect(await outcome({ session }, { sessions })).to.equal("user seven");
      expect(asked.at(-1)).to.deep.equal(session);
      expect(await outcome({ session: stranger }, { sessions })).to.equal("401 unauthorized");
      expect(await outcome({ session: stranger }, { sessions, anonymous: true })).to.equal("user null");
      const undefinedUser = (() => undefined) as unknown as SessionLookup;
      expect(await outcome({ session }, { sessions: undefinedUser, anonymous: true })).to.equal("user null");
    });

    it("does not ask where a token is to be verified", async () => {
      const before = asked.length;
      const auth = { sessions, jwt: { secret } };
      expect(await outcome({ session, authorization: `Bearer ${first}` }, auth)).to.equal("user first");
      expect(await outcome({ session, authorization: "Bearer x" }, auth)).to.equal("401 bad-token");
      expect(asked.length).to.equal(before);
    });

    it("leaves tokens to the application where none can be verified here", async () => {
      expect(await outcome({ session, authorization: "Basic dTpw" }, { sessions })).to.equal("user seven");
      const anonymous = true;
      expect(await outcome({ session: stranger, authorization: "Bearer x" }, { sessions, anonymous })).to.equal(
        "401 bad-token",
      );
    });

    it("has no user where it fails, and nobody becomes anonymous by that", async () => {
      const failing: SessionLookup[] = [
        () => {
          throw new Error("the store is away");
        },
        () => Promise.reject(new Error("the store is away")),
        () => ({}) as User,
        () => ({ sub: "" }),
        () => "u1" as unknown as User,
      ];
      for (const each of failing) {
        logged = "";
        expect(await outcome({ session }, { sessions: each, anonymous: true })).to.equal("503 auth-unavailable");
        expect(logged).to.contain("auth.sessions failed");
      }
    });

    it("lets a session say when it ends, like a token", async () => {
      const ending = () => ({ sub: "u1", exp: Date.now() / 1_000 + 60 });
      const { endsAt } = await createAuthenticate({ sessions: ending }).authenticate({ session });
      expect((endsAt as number) - performance.now()).to.be.within(59_000, 60_100);
    });
  });
});
