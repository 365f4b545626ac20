import { EventEmitter, once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { type WebSocket, WebSocketServer } from "ws";
import { runCommand, type TestCommand } from "../support/gateway.js";

/** A server that says what a spec lets it say, for gateways of this step do not speak tailgate.v1 yet. */
describe("tailgate tail, over tailgate.v1", () => {
  let server: WebSocketServer;
  let command: TestCommand | undefined;
  const heard = new EventEmitter();
  let requests: IncomingMessage[] = [];

  beforeEach(async () => {
    requests = [];
    server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "tailgate.v1" });
    server.on("connection", (socket, request) => {
      requests.push(request);
      socket.on("message", (data) => heard.emit("message", socket, JSON.parse(String(data))));
    });
    await once(server, "listening");
  });
  afterEach(async () => {
    command?.kill("SIGKILL");
    await command?.exit;
    for (const socket of server.clients) socket.terminate();
    server.close();
  });

  function tail(args: string[]): { next: () => Promise<[WebSocket, Record<string, unknown>]>; command: TestCommand } {
    const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
    const queue: [WebSocket, Record<string, unknown>][] = [];
    heard.removeAllListeners().on("message", (...message) => queue.push(message as (typeof queue)[number]));
    command = runCommand(["tail", "--url", url, ...args]);
    return {
      command,
      async next() {
        while (queue.length === 0) await once(heard, "message");
        return queue.shift() as (typeof queue)[number];
      },
    };
  }

  const change = (position: string, previous: string, id: string): Record<string, unknown> => ({
    interface: "jobs",
    operation: "insert",
    data: { id },
    view: "v1",
    position,
    previous,
  });

  const send = (socket: WebSocket, ...messages: Record<string, unknown>[]): void => {
    for (const message of messages) socket.send(JSON.stringify(message));
  };

  const printed = (): unknown[] =>
    (command?.output() ?? "")
      .trim()
      .split("\n")
      .map((line) => {
        const { type, data } = JSON.parse(line) as { type?: string; data?: { id: string } };
        return type ?? data?.id;
      });

  it("subscribes once for each interface, with the filter, the position and the token in a header", async () => {
    const { next } = tail(["jobs", "samples", "jobs", "--filter", '{"a":1}', "--since", "p1", "--token", "secret"]);
    const [, first] = await next();
    const [, second] = await next();
    const common = { type: "subscribe", filter: { a: 1 }, since: "p1" };
    expect(first).to.deep.equal({ ...common, id: "jobs", interface: "jobs" });
    expect(second).to.deep.equal({ ...common, id: "samples", interface: "samples" });
    expect(requests[0]?.headers).to.include({
      authorization: "Bearer secret",
      "sec-websocket-protocol": "tailgate.v1",
    });
    expect(requests[0]?.url).to.equal("/ws");
  });

  it("prints snapshots, resets and changes, each change once, and goes on after a cut where it was", async () => {
    const { next, command } = tail(["jobs", "--filter", "{}"]);
    const [socket] = await next();
    send(
      socket,
      { type: "welcome", user: null, limits: {} },
      { type: "snapshot", id: "jobs", interface: "jobs", data: [], last: true },
      change("p1", "p0", "before ready"),
      { type: "ready", id: "jobs", view: "v1", position: "p2", recovered: false },
      change("p2", "p1", "in the snapshot"),
      change("p3", "p2", "three"),
      { type: "progress", position: "p5" },
      change("p4", "p3", "older than the progress"),
      change("p6", "p5", "six"),
    );
    await command.line(/"six"/);
    socket.terminate();
    const [again, subscribed] = await next();
    expect(subscribed).to.include({ since: "p6", view: "v1" });
    send(
      again,
      { type: "ready", id: "jobs", view: "v1", position: "p6", recovered: true },
      change("p7", "p6", "seven"),
      { type: "reset", id: "jobs", view: "v1", reason: "dropped" },
      { type: "snapshot", id: "jobs", interface: "jobs", data: [], last: true },
      { type: "ready", id: "jobs", view: "v1", position: "p8", recovered: false },
      change("p9", "p8", "nine"),
    );
    await command.line(/"nine"/);
    expect(printed()).to.deep.equal(["snapshot", "three", "six", "seven", "reset", "snapshot", "nine"]);
  });

  it("subscribes again from its last position when a message was missed", async () => {
    const { next, command } = tail(["jobs", "--since", "p1"]);
    const [socket] = await next();
    send(
      socket,
      { type: "ready", id: "jobs", view: "v1", position: "p1", recovered: true },
      change("p5", "p3", "five"),
    );
    expect((await next())[1]).to.deep.equal({ type: "unsubscribe", id: "jobs" });
    expect((await next())[1]).to.include({ type: "subscribe", since: "p1", view: "v1" });
    expect(command.output()).to.equal("");
  });

  it("ends with 1 and the reason when a subscription is refused", async () => {
    const { next, command } = tail(["jobs", "--filter", '{"hidden":1}']);
    const [socket] = await next();
    send(socket, {
      type: "error",
      id: "jobs",
      status: 400,
      code: "bad-filter",
      title: "Bad filter",
      detail: "hidden is not filterable",
    });
    expect(await command.exit).to.equal(1);
    expect(command.errors()).to.contain("refuses jobs (400 bad-filter): Bad filter: hidden is not filterable");
  });
});
