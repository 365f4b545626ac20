import { expect } from "chai";

export interface ListPage {
  data: ({ id: unknown } & Record<string, unknown>)[];
  next: string | null;
  position: string;
}

/** A page of `GET {url}/api/{path}`; the status has to be 200. */
export async function getPage(url: string, path: string, parameters: Record<string, string> = {}): Promise<ListPage> {
  const response = await fetch(`${url}/api/${path}?${new URLSearchParams(parameters)}`);
  const text = await response.text();
  expect(response.status, text).to.equal(200);
  return JSON.parse(text) as ListPage;
}

/**
 * Follows `next` to the end.
 *
 * @param between - called after each page
 */
export async function getAll(
  url: string,
  path: string,
  parameters: Record<string, string>,
  between: (page: ListPage) => Promise<unknown> = async () => undefined,
): Promise<ListPage["data"]> {
  const rows: ListPage["data"] = [];
  let cursor: string | null = null;
  let pages = 0;
  do {
    const page = await getPage(url, path, cursor === null ? parameters : { ...parameters, cursor });
    rows.push(...page.data);
    cursor = page.next;
    pages += 1;
    if (pages > 2_000) throw new Error("the list does not end");
    await between(page);
  } while (cursor !== null);
  return rows;
}

/** The problem that a request is answered with: status, code, and what its type says. */
export async function problemOf(response: Response): Promise<Record<string, unknown>> {
  expect(response.headers.get("content-type")).to.match(/^application\/problem\+json/);
  const problem = (await response.json()) as Record<string, unknown>;
  expect(problem.status).to.equal(response.status);
  expect(problem).to.include.keys("type", "title", "code");
  return problem;
}

/** Says in one line how a request was refused. */
export async function refusalOf(response: Response): Promise<string> {
  const { status, code } = await problemOf(response);
  return `${status} ${code}`;
}
