import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** How the next request is answered instead of as usual. */
export type Mood =
  | { readonly kind: "status"; readonly status: number }
  /** GitHub: 403 or 429 with its rate limit headers, and `Retry-After` where it is a secondary limit. */
  | {
      readonly kind: "github-limit";
      readonly status: 403 | 429;
      readonly seconds: number;
      readonly secondary?: boolean;
    }
  /** NCBI: 429 with a JSON body. */
  | { readonly kind: "ncbi-limit"; readonly seconds?: number }
  /** Takes the request and never answers. */
  | { readonly kind: "hang" }
  /** Ends the connection. */
  | { readonly kind: "hang-up" }
  /** NCBI answers errors of its own in XML, whatever was asked for. */
  | { readonly kind: "ncbi-xml" };

export interface SeenRequest {
  readonly at: number;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
}

export interface StandIn {
  readonly url: string;
  readonly requests: readonly SeenRequest[];
  /** One mood for each of the next requests. */
  next(...moods: Mood[]): void;
  /** Resolves when the next request has come in. */
  request(): Promise<SeenRequest>;
  close(): Promise<void>;
}

const releases: Readonly<Record<string, object>> = {
  "samtools/samtools": {
    url: "https://api.github.com/repos/samtools/samtools/releases/1",
    html_url: "https://github.com/samtools/samtools/releases/tag/1.21",
    tag_name: "1.21",
    name: "samtools 1.21",
    draft: false,
    prerelease: false,
    created_at: "2024-09-12T10:00:00Z",
    published_at: "2024-09-12T12:30:00Z",
    assets: [],
    body: "…",
  },
};

const records: Readonly<Record<string, object>> = {
  "NC_000913.3": {
    uid: "556503834",
    caption: "NC_000913",
    title: "Escherichia coli str. K-12 substr. MG1655, complete genome",
    createdate: "2001/10/15",
    updatedate: "2022/03/09",
    taxid: 511145,
    slen: 4641652,
    biomol: "genomic",
    moltype: "dna",
    topology: "circular",
    sourcedb: "refseq",
    organism: "Escherichia coli str. K-12 substr. MG1655",
    accessionversion: "NC_000913.3",
  },
};

/** A server on this machine that behaves as GitHub's API (`/repos/…`) and NCBI's E-utilities (`/eutils/…`) do. */
export async function startStandIn(): Promise<StandIn> {
  const requests: SeenRequest[] = [];
  const moods: Mood[] = [];
  let wake = (): void => {};
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://stand-in");
    requests.push({
      at: performance.now(),
      path: pathname,
      query: Object.fromEntries(searchParams),
      headers: request.headers,
    });
    wake();
    const mood = moods.shift();
    if (mood !== undefined) answerInMood(response, mood);
    else if (pathname.startsWith("/repos/")) answerAsGitHub(response, pathname);
    else answerAsNcbi(response, searchParams);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    next: (...more) => void moods.push(...more),
    async request() {
      const before = requests.length;
      while (requests.length === before) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return requests.at(-1) as SeenRequest;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function answerAsGitHub(response: ServerResponse, path: string): void {
  const repository = /^\/repos\/([^/]+\/[^/]+)\/releases\/latest$/.exec(path)?.[1] ?? "";
  const release = releases[repository];
  const headers = { "x-ratelimit-limit": "60", "x-ratelimit-remaining": "59" };
  if (release !== undefined) json(response, 200, release, headers);
  else json(response, 404, { message: "Not Found", documentation_url: "https://docs.github.com/rest", status: "404" });
}

function answerAsNcbi(response: ServerResponse, query: URLSearchParams): void {
  const record = records[query.get("id") ?? ""] as { uid: string } | undefined;
  const header = { type: "esummary", version: "0.3" };
  if (record !== undefined) json(response, 200, { header, result: { uids: [record.uid], [record.uid]: record } });
  else json(response, 200, { header, error: "Invalid uid XX_000000 at position= 0", result: { uids: [] } });
}

function answerInMood(response: ServerResponse, mood: Mood): void {
  if (mood.kind === "status") {
    json(response, mood.status, { message: "Server Error" });
  } else if (mood.kind === "github-limit") {
    json(
      response,
      mood.status,
      { message: "API rate limit exceeded for 127.0.0.1.", documentation_url: "https://docs.github.com/rest" },
      {
        "x-ratelimit-limit": "60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": String(Math.ceil(Date.now() / 1_000 + mood.seconds)),
        ...(mood.secondary ? { "retry-after": String(mood.seconds) } : {}),
      },
    );
  } else if (mood.kind === "ncbi-limit") {
    json(
      response,
      429,
      { error: "API rate limit exceeded", "api-key": "127.0.0.1", count: "4", limit: "3" },
      mood.seconds === undefined ? {} : { "retry-after": String(mood.seconds) },
    );
  } else if (mood.kind === "ncbi-xml") {
    response.setHeader("content-type", "text/xml; charset=UTF-8");
    response.end(`<?xml version="1.0"?>\n<eEfetchResult>\n\t<ERROR>Cannot process request</ERROR>\n</eEfetchResult>`);
  } else if (mood.kind === "hang-up") {
    response.socket?.resetAndDestroy();
  }
}

function json(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers });
  response.end(JSON.stringify(body));
}
