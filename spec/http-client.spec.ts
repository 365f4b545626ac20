import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { createHttpClient, type HttpClient } from "../src/http-client.js";
import { createMetrics, type Metrics } from "../src/metrics.js";

describe("the HTTP client", () => {
  let server: Server;
  let url: string;
  let requests: IncomingMessage[];
  let answer: (response: ServerResponse, attempt: number) => void;
  let metrics: Metrics;
  let http: HttpClient;

  before(async () => {
    server = createServer((request, response) => {
      requests.push(request);
      answer(response, requests.length);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  beforeEach(() => {
    requests = [];
    metrics = createMetrics();
    http = createHttpClient({ userAgent: "lab/1.0", timeoutSeconds: 5, totalTimeoutSeconds: 10, retries: 2 }, metrics);
  });

  const counted = async (status: number): Promise<number> => {
    const { values } = await metrics.httpClientRequests.get();
    return values.find((each) => each.labels.status === status && each.labels.host === new URL(url).host)?.value ?? 0;
  };

  it("sends the application's User-Agent", async () => {
    answer = (response) => response.end("{}");
    await http.get(url).json();
    expect(requests[0]?.headers["user-agent"]).to.equal("lab/1.0");
  });

  it("tries again after a failure of the server, and counts every attempt", async () => {
    answer = (response, attempt) => {
      response.statusCode = attempt === 1 ? 502 : 200;
      response.end('{"ok":true}');
    };
    expect(await http.get(url).json()).to.deep.equal({ ok: true });
    expect(await counted(502)).to.equal(1);
    expect(await counted(200)).to.equal(1);
  });

  it("waits as long as the server asks for", async () => {
    answer = (response, attempt) => {
      if (attempt === 1) response.writeHead(429, { "retry-after": "1" });
      response.end("{}");
    };
    const began = performance.now();
    await http.get(url).json();
    expect(performance.now() - began).to.be.at.least(990);
  });

  it("gives up with the status when the attempts are used up", async () => {
    answer = (response) => response.writeHead(503).end();
    const failure = await http.get(url).then(
      () => undefined,
      (error: unknown) => error as { response: Response },
    );
    expect(failure?.response.status).to.equal(503);
    expect(requests).to.have.length(3);
  });

  it("does not repeat a request that may have had its effect", async () => {
    answer = (response) => response.writeHead(503).end();
    await http.post(url, { json: {} }).catch(() => undefined);
    expect(requests).to.have.length(1);
  });

  it("ends an attempt that gets no answer in time", async () => {
    answer = () => {
      // Never.
    };
    const hasty = createHttpClient(
      { userAgent: "lab/1.0", timeoutSeconds: 0.2, totalTimeoutSeconds: 10, retries: 0 },
      metrics,
    );
    const failure = await hasty.get(url).then(
      () => undefined,
      (error: Error) => error,
    );
    expect(failure?.name).to.equal("TimeoutError");
  });

  it("counts an attempt without an answer as status 0", async () => {
    answer = (response) => response.destroy();
    await http.get(url, { retry: 0 }).catch(() => undefined);
    expect(await counted(0)).to.equal(1);
  });
});
