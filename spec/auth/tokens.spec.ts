import { createHmac } from "node:crypto";
import { expect } from "chai";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { createVerifyToken, type VerifyToken } from "../../src/auth/tokens.js";
import { settingsOf } from "../../src/config/load.js";
import type { JwtSettings } from "../../src/config/settings.js";
import { RequestError } from "../../src/errors.js";
import { createHttpClient, type HttpClient } from "../../src/http-client.js";
import { createLog } from "../../src/log.js";
import { createMetrics } from "../../src/metrics.js";
import { createKey, type Issuer, type IssuerKey, inSeconds, signed, startIssuer } from "./issuer.js";

const secret = "canary-secret-of-at-least-32-bytes!";

describe("the verification of tokens", () => {
  let logged: string;
  let http: HttpClient;
  const log = createLog("trace", {
    write: (line: string) => {
      logged += line;
    },
  });
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

  before(() => {
    http = createHttpClient(settingsOf({}, {}).http, createMetrics());
  });
  beforeEach(() => {
    logged = "";
  });

  function verifier(jwt: JwtSettings): VerifyToken {
    const settings = settingsOf({ auth: { jwt } }, {});
    return createVerifyToken(settings.auth.jwt as JwtSettings, { http, log });
  }

  async function outcome(verify: VerifyToken, token: string): Promise<string> {
    try {
      return `user ${(await verify(token)).user?.sub}`;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      expect(error.message).to.not.contain("canary");
      if (token.length > 20) expect(error.message).to.not.contain(token.slice(-20));
      return `${error.status} ${error.code} ${error.extensions.reason}: ${error.message}`;
    }
  }

  describe("with a shared secret", () => {
    const verify = verifier({ secret, issuer: "https://id.test", audience: ["a", "b"] });
    const claims = { sub: "u1", iss: "https://id.test", aud: "b" };

    it("gives the claims as the user, and the end on the monotonic clock", async () => {
      const exp = inSeconds(60);
      const { user, endsAt } = await verify(await signed(secret, { ...claims, exp, team: ["x"] }));
      expect(user).to.deep.equal({ ...claims, exp, team: ["x"] });
      expect((endsAt as number) - performance.now()).to.be.within(58_000, 60_000);
    });

    it("accepts a token without `exp`, which has no end", async () => {
      expect((await verify(await signed(secret, claims))).endsAt).to.equal(undefined);
    });

    it("allows clocks to differ by 5 seconds, and by no more", async () => {
      expect(await outcome(verify, await signed(secret, { ...claims, exp: inSeconds(-1) }))).to.equal("user u1");
      expect(await outcome(verify, await signed(secret, { ...claims, nbf: inSeconds(3) }))).to.equal("user u1");
      expect(await outcome(verify, await signed(secret, { ...claims, exp: inSeconds(-7) }))).to.match(
        /^401 bad-token expired/,
      );
      expect(await outcome(verify, await signed(secret, { ...claims, nbf: inSeconds(8) }))).to.match(
        /^401 bad-token invalid.*not valid yet/,
      );
    });

    const rows: [name: string, token: () => Promise<string> | string, says: RegExp][] = [
      ["of another secret", () => signed(`${secret}!`, claims), /signature/],
      ["of another issuer", () => signed(secret, { ...claims, iss: "https://evil.test" }), /`iss`/],
      ["without issuer", () => signed(secret, { sub: "u1", aud: "a" }), /`iss`/],
      ["for another audience", () => signed(secret, { ...claims, aud: ["c"] }), /`aud`/],
      ["without audience", () => signed(secret, { sub: "u1", iss: claims.iss }), /`aud`/],
      ["of another algorithm of the same secret", () => signed(secret, claims, { alg: "HS512" }), /algorithm/],
      ["without subject", () => signed(secret, { ...claims, sub: undefined } as never), /names nobody/],
      ["with an empty subject", () => signed(secret, { ...claims, sub: "" }), /names nobody/],
      ["with a number as subject", () => signed(secret, { ...claims, sub: 7 } as never), /names nobody/],
      ["with text as `exp`", () => signed(secret, { ...claims, exp: "tomorrow" } as never), /`exp`/],
      ["that is unsigned", () => `${encode({ alg: "none" })}.${encode(claims)}.`, /algorithm/],
      ["that is unsigned, in capitals", () => `${encode({ alg: "NONE" })}.${encode(claims)}.`, /algorithm/],
      [
        "whose header was changed to none, with its signature kept",
        async () => (await signed(secret, claims)).replace(/^[^.]+/, encode({ alg: "none" })),
        /algorithm/,
      ],
      [
        "whose claims were changed",
        async () => (await signed(secret, claims)).replace(/\.[^.]+\./, `.${encode({ ...claims, sub: "admin" })}.`),
        /signature/,
      ],
      ["with a critical header that nobody knows", () => critical(), /can be read/],
      ["that is very long", () => signed(secret, { ...claims, pad: "x".repeat(20_000) }), /longer than/],
      ["that is empty", () => "", /can be read/],
      ["that is two dots", () => "..", /can be read/],
      ["that is garbage", () => "a.b.c", /can be read/],
      ["that is JSON", () => '{"alg":"HS256"}', /can be read/],
      ["with a list as claims", () => raw([1, 2]), /can be read/],
      ["with a number as claims", () => raw(1), /can be read/],
    ];
    /** Signed properly, whatever it says. */
    function raw(payload: unknown, header: object = { alg: "HS256" }): string {
      const head = `${encode(header)}.${encode(payload)}`;
      return `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`;
    }
    const critical = (): string => raw(claims, { alg: "HS256", crit: ["x"], x: 1 });

    for (const [name, token, says] of rows) {
      it(`refuses a token ${name}`, async () => {
        const said = await outcome(verify, await token());
        expect(said).to.match(/^401 bad-token invalid/);
        expect(said).to.match(says);
        expect(logged).to.not.contain("canary");
      });
    }

    it("keeps claims that could reach a prototype away from it", async () => {
      const { user } = await verify(raw({ ...claims, constructor: { prototype: { polluted: 1 } } }));
      expect(user?.sub).to.equal("u1");
      const head = `${encode({ alg: "HS256" })}.${Buffer.from(`{"sub":"u1","iss":"https://id.test","aud":"a","__proto__":{"admin":true}}`).toString("base64url")}`;
      const token = `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`;
      expect(((await verify(token)).user as { admin?: unknown }).admin).to.equal(undefined);
      expect(({} as { polluted?: unknown }).polluted).to.equal(undefined);
    });

    it("accepts a secret that is short, of which the log has warned", async () => {
      expect(await outcome(verifier({ secret: "short" }), await signed("short", { sub: "u1" }))).to.equal("user u1");
    });
  });

  describe("with a key set beside the secret", () => {
    let rsa: IssuerKey;
    let issuer: Issuer;
    let verify: VerifyToken;

    before(async () => {
      rsa = await createKey("r1", "RS256");
      issuer = await startIssuer([rsa.jwk]);
      verify = verifier({ secret, jwksUrl: issuer.url });
    });
    after(() => issuer.close());

    it("lets the algorithm choose the key", async () => {
      expect(await outcome(verify, await rsa.sign({ sub: "u2" }))).to.equal("user u2");
      expect(await outcome(verify, await signed(secret, { sub: "u1" }))).to.equal("user u1");
    });

    it("refuses a token that uses a public key, which anyone has, as the shared secret", async () => {
      const spellings = [rsa.publicPem, rsa.publicPem.trim(), rsa.jwk.n as string, JSON.stringify(rsa.jwk)];
      for (const known of spellings) {
        for (const kid of ["r1", undefined]) {
          const forged = await signed(known, { sub: "admin" }, kid === undefined ? {} : { kid });
          expect(await outcome(verify, forged)).to.match(/^401 bad-token invalid: .*signature/);
        }
      }
      const only = verifier({ jwksUrl: issuer.url });
      expect(await outcome(only, await signed(rsa.publicPem, { sub: "admin" }))).to.match(/^401 .*algorithm/);
    });

    it("refuses a token that brings its own key, or says where to fetch one", async () => {
      const own = await createKey("r1", "RS256");
      const before = issuer.requests;
      for (const header of [{ jwk: own.jwk }, { jku: issuer.url }, { x5u: issuer.url }, { kid: "../../dev/null" }]) {
        expect(await outcome(verify, await own.sign({ sub: "admin" }, header))).to.match(/^401 bad-token invalid/);
      }
      expect(issuer.requests).to.equal(before);
    });

    it("tries every key that fits a token that names none", async () => {
      const [first, second, stranger] = await Promise.all([createKey("a"), createKey("b"), createKey("c")]);
      const two = await startIssuer([first.jwk, second.jwk]);
      const either = verifier({ jwksUrl: two.url });
      for (const key of [first, second]) {
        expect(await outcome(either, await key.sign({ sub: "u1" }, { kid: undefined }))).to.equal("user u1");
      }
      expect(await outcome(either, await stranger.sign({ sub: "u1" }, { kid: undefined }))).to.match(
        /^401 .*signature/,
      );
      expect(await outcome(either, await first.sign({ sub: "u1", exp: inSeconds(-60) }, { kid: undefined }))).to.match(
        /^401 bad-token expired/,
      );
      two.close();
    });

    it("refuses a key set that has secret keys in it", async () => {
      const { privateKey } = await generateKeyPair("ES256", { extractable: true });
      const careless = await startIssuer([{ ...(await exportJWK(privateKey)), kid: "p", alg: "ES256" }]);
      const token = await new SignJWT({ sub: "u1" }).setProtectedHeader({ alg: "ES256", kid: "p" }).sign(privateKey);
      expect(await outcome(verifier({ jwksUrl: careless.url }), token)).to.match(/^401 bad-token invalid/);
      careless.close();
    });
  });
});
