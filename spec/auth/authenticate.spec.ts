import { expect } from "chai";
import { type Credentials, createAuthenticate } from "../../src/auth/authenticate.js";
import { RequestError } from "../../src/errors.js";

describe("authentication", () => {
  const auth = { anonymous: true, closeCode: 4401, queryToken: false };
  const refusal = (credentials: Credentials, settings = auth): Promise<string> =>
    createAuthenticate(settings)(credentials).then(
      (user) => `user ${JSON.stringify(user)}`,
      (error: unknown) => (error instanceof RequestError ? `${error.status} ${error.code}` : String(error)),
    );

  it("takes a request without a token for an anonymous one, where those are allowed", async () => {
    expect(await refusal({})).to.equal("user null");
    expect(await refusal({ cookie: "theme=dark; xtailgate_token=1" })).to.equal("user null");
    expect(await refusal({}, { ...auth, anonymous: false })).to.equal("401 unauthorized");
  });

  it("refuses a token that can't be verified, even where anonymous requests are allowed", async () => {
    expect(await refusal({ authorization: "Bearer a.b.c" })).to.equal("401 bad-token");
    expect(await refusal({ authorization: "bearer a.b.c" })).to.equal("401 bad-token");
    expect(await refusal({ authorization: "Digest x" })).to.equal("401 bad-token");
    expect(await refusal({ authorization: "" })).to.equal("401 bad-token");
    expect(await refusal({ cookie: "a=b; tailgate_token=x=y" })).to.equal("401 bad-token");
  });

  it("takes a token from the query only where the configuration allows it", async () => {
    expect(await refusal({ queryToken: "a.b.c" })).to.equal("user null");
    expect(await refusal({ queryToken: "a.b.c" }, { ...auth, queryToken: true })).to.equal("401 bad-token");
  });
});
