import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createRawServer, type Server as RawServer } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { bodyParser } from "@koa/bodyparser";
import { expect } from "chai";
import Koa from "koa";
import type { FrontOptions } from "../../src/sockets/front.js";
import { addressText, responseHeaders } from "../../src/sockets/front-headers.js";
import { ask, headOf, peerHeader, RawClient, type Rig, readAll, settled, startRig, until } from "./front-rig.js";

const megabyte = 1024 * 1024;
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;
const piece = Buffer.alloc(64 * 1024, "tailgate ");

describe("front", () => {
  let rig: Rig;
  afterEach(() => rig.stop());

  async function start(listener: Parameters<typeof startRig>[0], options: Partial<FrontOptions> = {}): Promise<void> {
    rig = await startRig(listener, options);
  }

  /** Answers with what the server behind the front saw. */
  function mirror(req: IncomingMessage, res: ServerResponse): void {
    readAll(req).then(
      (body) => {
        const { method, url, rawHeaders } = req;
        res.setHeader("Content-Type", "application/json");
        res.end(JSON.stringify({ method, url, rawHeaders, body: body.toString("latin1") }));
      },
      () => res.destroy(),
    );
  }

  describe("passing requests on", () => {
    it("keeps method, path and query as they were sent", async () => {
      await start(mirror);
      for (const path of ["/", "/a%20b/%2e%2e?x=1&y=%26&x=2", "/q?", "/q?a?b=c//d"]) {
        const answer = await ask(rig.port, { path, method: "OPTIONS" });
        expect(answer.status).to.equal(200);
        expect(JSON.parse(answer.body.toString())).to.include({ method: "OPTIONS", url: path, body: "" });
      }
    });

    it("passes bodies of a known length and chunked ones", async () => {
      await start(mirror);
      const sized = await ask(rig.port, { method: "POST", body: "hello" });
      expect(JSON.parse(sized.body.toString())).to.include({ body: "hello" });
      const chunked = await ask(rig.port, {
        method: "PATCH",
        headers: { "Transfer-Encoding": "chunked" },
        body: "world",
      });
      expect(JSON.parse(chunked.body.toString())).to.include({ body: "world" });
      const absent = JSON.parse((await ask(rig.port, { method: "POST" })).body.toString());
      expect(absent.body).to.equal("");
      expect(absent.rawHeaders).not.to.include("transfer-encoding");
    });

    it("drops headers that belong to the client's connection, also those that Connection names", async () => {
      await start(mirror);
      const headers = {
        Connection: "keep-alive, X-Private",
        "X-Private": "1",
        "Keep-Alive": "timeout=9",
        "Proxy-Authorization": "Basic YQ==",
        "Proxy-Connection": "keep-alive",
        TE: "trailers",
        Trailer: "X-Sum",
        "Transfer-Encoding": "chunked",
        Upgrade: "h2c",
        "X-Kept": "yes",
        Host: "example.test",
      };
      const seen = JSON.parse((await ask(rig.port, { method: "POST", headers })).body.toString())
        .rawHeaders as string[];
      expect(seen).to.deep.equal([
        ...["x-kept", "yes", "host", "example.test", "transfer-encoding", "chunked", peerHeader, "127.0.0.1"],
        ...["Connection", "keep-alive"], // of the front's own connection
      ]);
    });

    it("tells the client's address in the internal header, and drops what clients claim about addresses", async () => {
      await start(mirror);
      const headers = {
        [peerHeader.toUpperCase()]: "10.9.8.7",
        "X-Forwarded-For": "10.9.8.7",
        "x-forwarded-host": "evil.test",
        "X-Forwarded-Anything": "1",
        Forwarded: "for=10.9.8.7",
        "X-Real-IP": "10.9.8.7",
      };
      const seen = JSON.parse((await ask(rig.port, { headers })).body.toString()).rawHeaders as string[];
      const names = seen.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
      expect(names.sort()).to.deep.equal(["connection", "host", peerHeader]);
      expect(seen[seen.indexOf(peerHeader) + 1]).to.equal("127.0.0.1");
    });

    it("keeps the bytes of header values that are not ASCII, in both directions", async () => {
      let seen: string[] = [];
      await start((req, res) => {
        seen = req.rawHeaders;
        res.writeHead(200, "G\u00fct", { "X-Utf8": Buffer.from("ä€").toString("latin1"), "X-Latin1": "\xe4" });
        res.end();
      });
      const client = await RawClient.open(rig.port);
      // In parentheses, for uWebSockets trims bytes above 127 from both ends of a value, as if they were spaces.
      client.send("GET / HTTP/1.1\r\nHost: a\r\nA: (\xe4)\r\nB: (\xc3\xa4)\r\nB: (\xc3\xb6)\r\n\r\n");
      const text = await client.until((received) => received.includes("\r\n\r\n"));
      expect(seen.slice(2, 8)).to.deep.equal(["a", "(\xe4)", "b", "(\xc3\xa4)", "b", "(\xc3\xb6)"]);
      expect(text).to.match(/^HTTP\/1\.1 200 G\xfct\r\n/);
      expect(text).to.include("\r\nX-Utf8: \xc3\xa4\xe2\x82\xac\r\n").and.include("\r\nX-Latin1: \xe4\r\n");
      client.socket.destroy();
    });

    it("refuses requests whose end or target two readers could see in two places", async () => {
      let requests = 0;
      await start((_, res) => {
        requests += 1;
        res.end();
      });
      const heads: [string, string][] = [
        ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"],
        ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"],
        ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "400"],
        ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\nabc", "413"],
        [`GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ${"9".repeat(18)}\r\n\r\n`, "413"],
        [`GET / HTTP/1.1\r\nHost: a\r\nContent-Length: ${"9".repeat(19)}\r\n\r\n`, "400"],
        ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", "501"],
        ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"],
        ["GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", "400"],
        ["CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "501"],
        ["SMUGGLE / HTTP/1.1\r\nHost: a\r\n\r\n", "501"],
      ];
      for (const [head, status] of heads) {
        const client = await RawClient.open(rig.port);
        client.send(head);
        expect(await client.untilClosed(), head).to.match(new RegExp(`^HTTP/1\\.1 ${status} `));
      }
      expect(requests).to.equal(0);
      expect(rig.front.active).to.equal(0);
    });

    it("answers Expect: 100-continue before the body is sent", async () => {
      await start(mirror);
      const client = await RawClient.open(rig.port);
      client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
      await client.until((text) => text === "HTTP/1.1 100 Continue\r\n\r\n");
      client.send("abc");
      const text = await client.until((received) => received.includes('"abc"'));
      expect(text).to.include("HTTP/1.1 200 OK").and.not.include('"expect"');
      client.socket.destroy();
    });

    it("answers the requests of a kept-alive connection in order", async () => {
      await start(mirror);
      const client = await RawClient.open(rig.port);
      for (let i = 0; i < 50; i += 1) {
        client.send(`POST /${i} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n${String(i).padStart(2, "0")}`);
        await client.until((text) => text.includes(`"url":"/${i}"`) && text.endsWith("}"));
      }
      expect(client.text.match(/"url":"\/\d+"/g)).to.deep.equal(Array.from({ length: 50 }, (_, i) => `"url":"/${i}"`));
      expect(client.closed).to.equal(false);
      client.socket.destroy();
    });

    it("ends a connection that pipelines, without mixing up answers", async () => {
      await start(mirror);
      const client = await RawClient.open(rig.port);
      client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
      expect(await client.untilClosed()).to.equal("");
      await until(() => rig.front.active === 0);
      expect((await ask(rig.port)).status).to.equal(200);
    });
  });

  describe("passing responses back", () => {
    it("keeps repeated headers such as Set-Cookie and drops those of the inner connection", async () => {
      await start((_, res) => {
        res.setHeader("Set-Cookie", ["a=1; Path=/", "b=2"]);
        res.setHeader("Connection", "keep-alive, X-Inner");
        res.setHeader("X-Inner", "1");
        res.end("ok");
      });
      const answer = await ask(rig.port);
      expect(answer.headers["set-cookie"]).to.deep.equal(["a=1; Path=/", "b=2"]);
      expect(answer.headers).not.to.have.any.keys("connection", "keep-alive", "x-inner", "transfer-encoding");
      expect(answer.rawHeaders.filter((name) => name.toLowerCase() === "date")).to.have.length(1);
      expect(answer.rawHeaders.filter((name) => name.toLowerCase() === "content-length")).to.have.length(1);
    });

    it("ends HEAD, 204, 205, 304 and empty responses where they end", async () => {
      await start((req, res) => {
        if (req.url === "/head") res.setHeader("Content-Length", 12345).end();
        else if (req.url === "/304") res.writeHead(304, { "Content-Length": "77", ETag: '"x"' }).end();
        else if (req.url === "/empty") res.setHeader("Content-Length", 0).end();
        else if (req.url === "/chunked") res.writeHead(200, { "Transfer-Encoding": "chunked" }).end();
        else res.writeHead(Number(req.url?.slice(1))).end();
      });
      // One connection throughout: a byte too many or too few spoils the answer that follows.
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      let connections = 0;
      rig.onConnection(() => {
        connections += 1;
      });
      const head = await ask(rig.port, { method: "HEAD", path: "/head", agent });
      expect(head).to.deep.include({ status: 200, body: Buffer.alloc(0) });
      expect(head.headers["content-length"]).to.equal("12345");
      const notModified = await ask(rig.port, { path: "/304", agent });
      expect(notModified.headers).to.include({ etag: '"x"', "content-length": "77" });
      const noContent = await ask(rig.port, { path: "/204", agent });
      expect(noContent.status).to.equal(204);
      expect(noContent.headers).not.to.have.any.keys("content-length", "transfer-encoding");
      for (const path of ["/205", "/empty", "/chunked", "/200"]) {
        expect((await ask(rig.port, { path, agent })).headers["content-length"], path).to.equal("0");
      }
      expect(connections).to.equal(1);
      agent.destroy();
    });

    it("sends the parts of a response as they come", async () => {
      let response: ServerResponse | undefined;
      await start((_, res) => {
        response = res;
        res.write("data: 1\n\n");
      });
      const outgoing = request({ port: rig.port, agent: false }).end();
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      const parts = answer[Symbol.asyncIterator]();
      expect(String((await parts.next()).value)).to.equal("data: 1\n\n");
      response?.write("data: 2\n\n");
      expect(String((await parts.next()).value)).to.equal("data: 2\n\n");
      response?.end();
      expect((await parts.next()).done).to.equal(true);
    });

    it("serves curl", async () => {
      await start(mirror);
      const url = `http://127.0.0.1:${rig.port}/x?y=1`;
      const { stdout } = await promisify(execFile)("curl", ["-sS", "-d", "a=b", url, url]);
      expect(stdout.match(/"body":"a=b"/g)).to.have.length(2);
    });
  });

  describe("streaming", () => {
    /** 64 KB pieces of one buffer, so that the sender itself takes no memory. */
    function* pieces(bytes: number): Generator<Buffer> {
      for (let sent = 0; sent < bytes; sent += piece.length) yield piece;
    }

    function hashOf(bytes: number): string {
      const hash = createHash("sha1");
      for (const part of pieces(bytes)) hash.update(part);
      return hash.digest("hex");
    }

    for (const framing of ["of known length", "chunked"] as const) {
      it(`passes a body of 50 MB (${framing}) without keeping it`, async () => {
        const before = process.memoryUsage();
        let peak = 0;
        let received = 0;
        await start((req, res) => {
          const hash = createHash("sha1");
          req.on("data", (data: Buffer) => {
            hash.update(data);
            received += data.length;
            if (received % (4 * megabyte) >= data.length) return;
            collectGarbage();
            peak = Math.max(peak, process.memoryUsage().arrayBuffers);
          });
          req.on("end", () => res.end(hash.digest("hex")));
        });
        const headers = framing === "chunked" ? {} : { "Content-Length": String(50 * megabyte) };
        const outgoing = request({ port: rig.port, method: "POST", agent: false, headers });
        const answered = once(outgoing, "response");
        await pipeline(Readable.from(pieces(50 * megabyte)), outgoing);
        const [answer] = (await answered) as [IncomingMessage];
        expect((await readAll(answer)).toString()).to.equal(hashOf(50 * megabyte));
        expect(peak - before.arrayBuffers).to.be.below(16 * megabyte);
      });
    }

    it("stops the client while the server does not read", async () => {
      let incoming: IncomingMessage | undefined;
      await start((req, res) => {
        incoming = req;
        req.pause();
        req.on("end", () => res.end("read"));
      });
      const size = 64 * megabyte;
      const outgoing = request({
        port: rig.port,
        method: "POST",
        agent: false,
        headers: { "Content-Length": String(size) },
      });
      const answered = once(outgoing, "response");
      let taken = 0;
      const sending = pipeline(
        (function* () {
          for (const part of pieces(size)) {
            taken += part.length;
            yield part;
          }
        })(),
        outgoing,
      );
      await until(() => incoming !== undefined);
      expect(await settled(() => taken)).to.be.below(16 * megabyte);
      const hash = createHash("sha1");
      incoming?.on("data", (data: Buffer) => hash.update(data));
      incoming?.resume();
      await sending;
      const [answer] = (await answered) as [IncomingMessage];
      expect((await readAll(answer)).toString()).to.equal("read");
      expect(hash.digest("hex")).to.equal(hashOf(size));
    });

    for (const framing of ["of known length", "chunked"] as const) {
      it(`stops the server while a client does not read a response of 100 MB (${framing})`, async () => {
        const size = 100 * megabyte;
        let pushed = 0;
        await start((_, res) => {
          if (framing === "of known length") res.setHeader("Content-Length", size);
          const parts = pieces(size);
          const push = (): void => {
            for (let part = parts.next(); !part.done; part = parts.next()) {
              pushed += part.value.length;
              if (!res.write(part.value)) return void res.once("drain", push);
            }
            res.end();
          };
          push();
        });
        const outgoing = request({ port: rig.port, agent: false }).end();
        const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
        const stalledAt = await settled(() => pushed);
        expect(stalledAt).to.be.below(16 * megabyte);
        // A little at a time: what the front keeps must not grow with what it passes on.
        const hash = createHash("sha1");
        let received = 0;
        let mostBetween = 0;
        for await (const part of answer as AsyncIterable<Buffer>) {
          hash.update(part);
          received += part.length;
          mostBetween = Math.max(mostBetween, pushed - received);
          if (received % (4 * megabyte) < part.length) await new Promise(setImmediate);
        }
        expect(received).to.equal(size);
        expect(hash.digest("hex")).to.equal(hashOf(size));
        expect(mostBetween).to.be.below(48 * megabyte);
        expect(rig.front.active).to.equal(0);
      });
    }

    /** Asks for a response and reads it at a rate, as long as it `isSlow`. */
    async function readSlowly(bytesPerSecond: number, isSlow: () => boolean): Promise<RawClient> {
      const client = await RawClient.open(rig.port);
      client.socket.on("data", (data: Buffer) => {
        if (!isSlow()) return;
        client.socket.pause();
        setTimeout(() => client.socket.resume(), (data.length / bytesPerSecond) * 1000);
      });
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      return client;
    }

    for (const framing of ["of known length", "chunked"] as const) {
      it(`waits for a slow reader longer than uWebSockets' own 10 s (${framing})`, async function () {
        this.timeout(60_000);
        const body = Buffer.alloc(14 * megabyte, "tailgate ");
        await start((_, res) => {
          if (framing === "of known length") res.setHeader("Content-Length", body.length);
          res.write(body);
          res.end();
        });
        const began = performance.now();
        // The kernel, with 4 MB to send, then reports no room for more than 10 s.
        const client = await readSlowly(100_000, () => performance.now() - began < 20_000);
        await until(() => rig.front.active === 1);
        await until(() => client.closed || rig.front.active === 0);
        expect(performance.now() - began).to.be.above(20_000);
        if (framing === "of known length") {
          const head = (await client.until((text) => text.includes("\r\n\r\n"))).indexOf("\r\n\r\n") + 4;
          await client.until((text) => text.length >= head + body.length);
          expect(client.received.subarray(head).equals(body)).to.equal(true);
        } else {
          await client.until((text) => text.endsWith("\r\n0\r\n\r\n"));
        }
        client.socket.destroy();
      });
    }

    for (const [reader, bytesPerSecond] of [
      ["takes nothing", 1],
      ["takes less than the least rate", 100_000_000],
    ] as const) {
      it(`cuts off a reader that ${reader} (hazard 40)`, async () => {
        let closed = false;
        await start(
          (_, res) => {
            Readable.from(pieces(100 * megabyte)).pipe(res);
            res.on("close", () => {
              closed = !res.writableFinished;
            });
          },
          { responseTimeoutMilliseconds: 2000, responseBytesPerSecond: bytesPerSecond },
        );
        const client = await readSlowly(2_000_000, () => true);
        const began = performance.now();
        if (reader === "takes nothing") client.socket.pause();
        await until(() => closed && rig.front.active === 0);
        expect(performance.now() - began).to.be.within(2000, 7900); // uWebSockets itself takes 8 s at least
        client.socket.destroy();
      });
    }

    it("streams both ways at once", async () => {
      await start((req, res) => void req.pipe(res));
      const size = 32 * megabyte;
      const outgoing = request({ port: rig.port, method: "POST", agent: false });
      const sending = pipeline(Readable.from(pieces(size)), outgoing);
      const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
      const hash = createHash("sha1");
      for await (const part of answer) hash.update(part as Buffer);
      await sending;
      expect(hash.digest("hex")).to.equal(hashOf(size));
      await until(() => rig.front.active === 0);
    });
  });

  describe("when one side goes away", () => {
    it("tells the server that a client left in the middle of its body", async () => {
      const seen: string[] = [];
      await start((req, res) => {
        req.once("data", () => seen.push("data"));
        req.on("error", (error: NodeJS.ErrnoException) => seen.push(error.code ?? ""));
        res.on("close", () => seen.push(`closed, finished ${res.writableFinished}`));
      });
      const client = await RawClient.open(rig.port);
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
      await until(() => seen.includes("data"));
      client.socket.destroy();
      await until(() => seen.length === 3);
      expect(seen).to.have.members(["data", "ECONNRESET", "closed, finished false"]);
      expect(rig.front.active).to.equal(0);
      expect(rig.log).to.deep.equal([]);
    });

    it("tells the server that a client left in the middle of a response", async () => {
      let closed = false;
      await start((_, res) => {
        Readable.from(
          (function* () {
            for (;;) yield piece;
          })(),
        ).pipe(res);
        res.on("close", () => {
          closed = !res.writableFinished;
        });
      });
      const client = await RawClient.open(rig.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await client.until((text) => text.length > megabyte);
      client.socket.destroy();
      await until(() => closed && rig.front.active === 0);
    });

    it("tells the server that a client left before it answered", async () => {
      let response: ServerResponse | undefined;
      await start((_, res) => {
        response = res;
      });
      const client = await RawClient.open(rig.port);
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await until(() => response !== undefined);
      client.socket.destroy();
      if (response?.closed === false) await once(response, "close");
      // What a handler does afterwards reaches nobody, and hurts nobody.
      response?.end("late");
      await until(() => rig.front.active === 0);
    });

    for (const [name, headers] of [
      ["that wants to keep its connection", {}],
      ["that asked to close", { Connection: "close" }],
    ] as const) {
      it(`delivers a refusal that comes before the end of the body to a client ${name}`, async () => {
        const koa = new Koa();
        koa.silent = true;
        koa.use(bodyParser({ jsonLimit: "16kb" }));
        const answerOf = koa.callback();
        await start((req, res) => void answerOf(req, res));
        for (let i = 0; i < 10; i += 1) {
          const agent = new Agent({ keepAlive: !("Connection" in headers) });
          const outgoing = request({
            port: rig.port,
            method: "POST",
            agent,
            headers: { ...headers, "Content-Type": "application/json", "Content-Length": String(20 * megabyte) },
          });
          outgoing.on("error", () => {}); // the connection may end while the rest is being sent
          const sending = pipeline(
            (function* () {
              for (let sent = 0; sent < 20 * megabyte; sent += piece.length) yield piece;
            })(),
            outgoing,
          ).catch(() => {});
          const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
          expect(headOf(answer).status).to.equal(413);
          await readAll(answer);
          await sending;
          agent.destroy();
        }
        await until(() => rig.front.active === 0);
      });
    }

    it("asks the client to close after a response that came before the end of the body", async () => {
      await start((_, res) => res.writeHead(413).end("too large"));
      const client = await RawClient.open(rig.port);
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc");
      const text = await client.until((received) => received.includes("too large"));
      expect(text)
        .to.match(/^HTTP\/1\.1 413 /)
        .and.include("\r\nConnection: close\r\n");
      expect(rig.front.active).to.equal(0);
      client.send(Buffer.alloc(50_000)); // discarded
      client.socket.end();
      await client.untilClosed();
      expect((await ask(rig.port)).status).to.equal(413);
    });

    it("delivers a refusal of a server that closes without having read the body", async () => {
      await start((_, res) => void res.writeHead(413, { Connection: "close" }).end("too large"));
      for (let i = 0; i < 20; i += 1) {
        const outgoing = request({ port: rig.port, method: "POST", agent: false });
        outgoing.on("error", () => {}); // the connection may end while the rest is being sent
        const upload = function* (): Generator<Buffer> {
          for (let sent = 0; sent < 5 * megabyte; sent += piece.length) yield piece;
        };
        const sending = pipeline(Readable.from(upload()), outgoing).catch(() => {});
        const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
        expect(headOf(answer).status).to.equal(413);
        expect((await readAll(answer)).toString()).to.equal("too large");
        outgoing.destroy();
        await sending;
      }
      expect(rig.front.active).to.equal(0);
    });

    it("reads on after a refusal, for closing on unread data would destroy it on the way", async () => {
      await start((_, res) => void res, { maxConcurrent: 0 });
      const client = await RawClient.open(rig.port);
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100003\r\n\r\nabc");
      await client.until((text) => text.endsWith("}"));
      client.send(Buffer.alloc(100_000));
      client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
      const text = await client.until((received) => received.split("HTTP/1.1 503 ").length === 3);
      expect(text).to.include("\r\nConnection: close\r\n");
      client.socket.destroy();
    });

    it("answers 502 while the server behind it is down, and works again when it is back", async () => {
      await start(mirror);
      rig.server.closeAllConnections();
      await new Promise((resolve) => rig.server.close(resolve));
      for (const method of ["GET", "POST"]) {
        const answer = await ask(rig.port, { method, body: method === "POST" ? "x".repeat(100_000) : undefined });
        expect(answer.status).to.equal(502);
        expect(answer.headers["content-type"]).to.equal("application/problem+json");
        const problem = JSON.parse(answer.body.toString());
        expect(problem).to.deep.include({ type: "about:blank", status: 502, code: "upstream-unavailable" });
        expect(problem.title).to.be.a("string");
      }
      const head = await ask(rig.port, { method: "HEAD" });
      expect(head.status).to.equal(502);
      rig.server.listen(rig.socketPath);
      await once(rig.server, "listening");
      expect((await ask(rig.port)).status).to.equal(200);
      expect(rig.front.active).to.equal(0);
      expect(rig.log.map((line) => line.msg)).to.include("request failed behind the front");
    });

    it("answers 502 when the server hangs up instead of answering", async () => {
      await start((req) => req.socket.destroy());
      expect((await ask(rig.port, { method: "POST", body: "x" })).status).to.equal(502);
      expect((await ask(rig.port)).status).to.equal(502);
      expect(rig.front.active).to.equal(0);
    });

    for (const length of [undefined, "1000000"]) {
      it(`cuts the client off when the server dies within a ${length ? "sized" : "chunked"} response`, async () => {
        await start((req, res) => {
          if (length) res.setHeader("Content-Length", length);
          res.write("the first part", () => setImmediate(() => req.socket.destroy()));
        });
        const outgoing = request({ port: rig.port, agent: false }).end();
        const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
        const error = await readAll(answer).then(
          () => undefined,
          (reason) => reason,
        );
        expect(error).to.have.property("code", "ECONNRESET");
        await until(() => rig.front.active === 0);
      });
    }
  });

  describe("limits", () => {
    it("answers 408 to a body that trickles (hazard 40)", async () => {
      let aborted = false;
      await start(
        (req) => {
          req.on("error", () => {
            aborted = true;
          });
          req.resume();
        },
        { bodyTimeoutMilliseconds: 250 },
      );
      const client = await RawClient.open(rig.port);
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
      const trickle = setInterval(() => client.send("x"), 20);
      const text = await client.until((received) => received.endsWith("}"));
      clearInterval(trickle);
      expect(text)
        .to.match(/^HTTP\/1\.1 408 /)
        .and.include('"code":"body-timeout"');
      expect(text).to.include("\r\nConnection: close\r\n");
      await until(() => aborted);
      expect(rig.front.active).to.equal(0);
      client.socket.destroy();
    });

    it("does not count the time in which the server did not read", async () => {
      let incoming: IncomingMessage | undefined;
      await start(
        (req, res) => {
          incoming = req;
          req.on("end", () => res.end("read"));
        },
        { bodyTimeoutMilliseconds: 1_000, bodyBytesPerSecond: 1e9 },
      );
      const outgoing = request({ port: rig.port, method: "POST", agent: false });
      outgoing.end(Buffer.alloc(8 * megabyte));
      const answered = once(outgoing, "response");
      await until(() => incoming !== undefined);
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      incoming?.resume();
      const [answer] = (await answered) as [IncomingMessage];
      expect((await readAll(answer)).toString()).to.equal("read");
    });

    it("waits for a slow sender and a slow server longer than uWebSockets' own 10 s", async function () {
      this.timeout(40_000);
      await start((req, res) => {
        const seconds = req.url === "/server" ? 16 : 0;
        req.resume();
        req.on("end", () => setTimeout(() => res.end("at last"), seconds * 1000));
      });
      const server = request({ port: rig.port, path: "/server", method: "POST", agent: false });
      server.end(Buffer.alloc(4 * megabyte));
      const answered = once(server, "response");
      const sender = await RawClient.open(rig.port);
      sender.send("POST /sender HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n");
      for (let i = 0; i < 16; i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        sender.send("x");
      }
      expect(await sender.until((text) => text.endsWith("at last"))).to.match(/^HTTP\/1\.1 200 /);
      sender.socket.destroy();
      const [answer] = (await answered) as [IncomingMessage];
      expect((await readAll(answer)).toString()).to.equal("at last");
    });

    it("answers 504 when the server does not answer, and tells it", async () => {
      let closed = false;
      await start(
        (_, res) => {
          res.on("close", () => {
            closed = true;
          });
        },
        { headerTimeoutMilliseconds: 100 },
      );
      const answer = await ask(rig.port);
      expect(answer.status).to.equal(504);
      expect(JSON.parse(answer.body.toString()).code).to.equal("upstream-timeout");
      await until(() => closed);
      expect(rig.front.active).to.equal(0);
    });

    it("answers 503 with Retry-After above its number of requests", async () => {
      const waiting: ServerResponse[] = [];
      await start((_, res) => void waiting.push(res), { maxConcurrent: 3 });
      const held = [ask(rig.port), ask(rig.port), ask(rig.port)];
      await until(() => waiting.length === 3);
      for (const method of ["GET", "POST", "HEAD"]) {
        const refused = await ask(rig.port, { method, body: method === "POST" ? "x".repeat(1_000_000) : undefined });
        expect(refused.status).to.equal(503);
        expect(refused.headers).to.include({ "retry-after": "1", "content-type": "application/problem+json" });
        if (method !== "HEAD") expect(JSON.parse(refused.body.toString()).code).to.equal("overloaded");
      }
      const head = await RawClient.open(rig.port);
      head.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
      await head.until((text) => text.includes("\r\n\r\n"));
      head.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      await head.until((text) => text.endsWith("}"));
      expect(head.text).to.match(/^HTTP\/1\.1 503 [^{]*\r\n\r\nHTTP\/1\.1 503 /);
      head.socket.destroy();
      expect(rig.front.active).to.equal(3);
      for (const response of waiting) response.end();
      expect((await Promise.all(held)).map(({ status }) => status)).to.deep.equal([200, 200, 200]);
      const next = ask(rig.port);
      await until(() => waiting.length === 4);
      waiting[3]?.end();
      expect((await next).status).to.equal(200);
    });

    it("counts every one of 1,000 quick requests out again", async () => {
      await start(mirror);
      const agent = new Agent({ keepAlive: true, maxSockets: 50 });
      let connections = 0;
      rig.server.on("connection", () => {
        connections += 1;
      });
      const asks = Array.from({ length: 1000 }, (_, i) =>
        ask(rig.port, {
          path: `/${i}`,
          method: i % 3 === 0 ? "POST" : "GET",
          body: i % 3 === 0 ? "b" : undefined,
          agent,
        }),
      );
      const answers = await Promise.all(asks);
      for (const [i, answer] of answers.entries()) expect(JSON.parse(answer.body.toString()).url).to.equal(`/${i}`);
      expect(rig.front.active).to.equal(0);
      // Both in the same process: a few more than the clients' own while one is given back.
      expect(connections).to.be.at.most(100);
      agent.destroy();
    });

    it("survives garbage", async () => {
      await start(mirror);
      const garbage = [
        Buffer.alloc(70_000, 0xff),
        Buffer.from("\r\n\r\n\0\0\0\0"),
        Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n"),
        Buffer.from(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(40_000)}\r\n\r\n`),
        Buffer.from("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnonsense\r\n"),
        Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]), // a TLS hello
        Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      ];
      for (const bytes of garbage) {
        const client = await RawClient.open(rig.port);
        client.send(bytes);
        client.socket.end();
        await client.untilClosed();
      }
      expect((await ask(rig.port)).status).to.equal(200);
      await until(() => rig.front.active === 0);
    });
  });

  describe("stopping", () => {
    it("refuses new requests and lets those in flight finish", async () => {
      let response: ServerResponse | undefined;
      await start((_, res) => {
        response = res;
      });
      const held = ask(rig.port);
      await until(() => response !== undefined);
      const stopping = rig.front.stop();
      expect(rig.front.stop()).to.equal(stopping);
      const refused = await ask(rig.port);
      expect(refused.status).to.equal(503);
      expect(JSON.parse(refused.body.toString()).code).to.equal("stopping");
      response?.end("done");
      expect((await held).body.toString()).to.equal("done");
      await stopping;
      expect(rig.front.active).to.equal(0);
    });

    it("cuts what is left when its signal says so", async () => {
      const responses: ServerResponse[] = [];
      await start((req, res) => {
        responses.push(res);
        if (req.url === "/begun") res.write("begun");
      });
      const waiting = ask(rig.port, { path: "/waiting" });
      const outgoing = request({ port: rig.port, path: "/begun", agent: false }).end();
      const [begun] = (await once(outgoing, "response")) as [IncomingMessage];
      const cut = readAll(begun).then(
        () => undefined,
        (reason) => reason,
      );
      await until(() => responses.length === 2);
      const deadline = new AbortController();
      const stopping = rig.front.stop(deadline.signal);
      deadline.abort();
      await stopping;
      expect((await waiting).status).to.equal(503);
      expect(await cut).to.have.property("code", "ECONNRESET");
      await until(() => responses.every((response) => response.closed));
    });
  });
});

describe("front before a server that breaks the rules", () => {
  async function against(raw: string): Promise<{ text: string; rig: Rig }> {
    const server: RawServer = createRawServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(Buffer.from(raw, "latin1")));
    });
    const rig = await startRig(() => {}, { server: Object.assign(server, { closeAllConnections() {} }) as never });
    const client = await RawClient.open(rig.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const text = await client.untilClosed();
    expect(rig.front.active).to.equal(0);
    await rig.stop();
    return { text, rig };
  }

  it("passes on a response that ends with its connection", async () => {
    const { text } = await against("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nwhole");
    expect(text)
      .to.match(/^HTTP\/1\.1 200 OK\r\nX-A: 1\r\n/)
      .and.include("\r\nwhole\r\n0\r\n");
  });

  it("answers 502 to what is not HTTP", async () => {
    for (const raw of [
      "",
      "nonsense\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
      "HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n",
    ]) {
      const { text } = await against(raw);
      expect(text, JSON.stringify(raw)).to.match(/^HTTP\/1\.1 502 /);
    }
  });

  it("answers 502 to headers that could become two", async () => {
    for (const raw of ["X: a\rEvil: 1", "X: a\nEvil: 1", "X: a\r\n Evil: 1"]) {
      const { text } = await against(`HTTP/1.1 200 OK\r\n${raw}\r\nContent-Length: 2\r\n\r\nok`);
      expect(text, JSON.stringify(raw))
        .to.match(/^HTTP\/1\.1 502 /)
        .and.not.include("Evil");
    }
  });

  it("gives a 204 no length, whatever the server says", async () => {
    const { text } = await against("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    expect(text)
      .to.match(/^HTTP\/1\.1 204 /)
      .and.not.match(/content-length/i);
  });
});

describe("front headers", () => {
  it("drop a value with a line break, which uWebSockets would write as it is", () => {
    expect(responseHeaders(["X", "a\r\nEvil: 1", "Y", "b"], undefined)).to.deep.equal([["Y", "b"]]);
  });

  it("print addresses in their usual form", () => {
    const text = (bytes: number[]): string => addressText(new Uint8Array(bytes).buffer);
    const zeros = (count: number): number[] => new Array<number>(count).fill(0);
    expect(text([127, 0, 0, 1])).to.equal("127.0.0.1");
    expect(text([...zeros(10), 255, 255, 10, 0, 0, 7])).to.equal("10.0.0.7");
    expect(text([...zeros(15), 1])).to.equal("::1");
    expect(text([0x20, 1, 0x0d, 0xb8, ...zeros(11), 5])).to.equal("2001:db8::5");
    expect(text([])).to.equal("");
  });
});
