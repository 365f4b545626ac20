import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, exportSPKI, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";

/** One key pair of an issuer. */
export interface IssuerKey {
  readonly kid: string;
  readonly jwk: JWK;
  readonly publicPem: string;
  sign(claims: JWTPayload, header?: Record<string, unknown>): Promise<string>;
}

export async function createKey(kid: string, alg = "ES256"): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return {
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" },
    publicPem: await exportSPKI(publicKey),
    sign: (claims, header = {}) => new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  };
}

/** An identity provider: it serves a key set over HTTP, and fails when told to. */
export interface Issuer {
  readonly url: string;
  /** Requests so far. */
  readonly requests: number;
  /** The set that it serves. */
  keys: readonly JWK[];
  /** How it answers; replaced to fail. */
  answer: (response: ServerResponse) => void;
  close(): void;
}

export async function startIssuer(keys: readonly JWK[]): Promise<Issuer> {
  let requests = 0;
  const server = createServer((_request, response) => {
    requests++;
    issuer.answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const issuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json?key=canary-address`,
    get requests() {
      return requests;
    },
    keys,
    answer(response: ServerResponse) {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ keys: issuer.keys }));
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
  return issuer;
}

/** Seconds since 1970, some time from now. */
export function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1_000) + seconds;
}

/** A token of a shared secret; its header may say anything. */
export function signed(secret: string, claims: JWTPayload, header: Record<string, unknown> = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...header }).sign(Buffer.from(secret));
}
