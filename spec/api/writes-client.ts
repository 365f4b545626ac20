/** What a write is answered with. */
export interface Answer {
  readonly status: number;
  /** In one line: the status, and the code of a problem. */
  readonly outcome: string;
  readonly headers: Headers;
  readonly body: Record<string, unknown>;
}

export type Send = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Readonly<Record<string, string>>,
) => Promise<Answer>;

/** @param token - whose requests these are; without one they are anonymous */
export function sender(url: string, token?: string): Send {
  return async (method, path, body, headers = {}) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const response = await fetch(`${url}/api/${path}`, {
      method,
      headers: {
        ...(text === undefined ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...headers,
      },
      ...(text === undefined ? {} : { body: text }),
    });
    const answered = await response.text();
    const parsed = answered === "" ? {} : (JSON.parse(answered) as Record<string, unknown>);
    const { status } = response;
    const outcome = status < 400 ? `${status}` : `${status} ${parsed.code}`;
    return { status, outcome, headers: response.headers, body: parsed };
  };
}
