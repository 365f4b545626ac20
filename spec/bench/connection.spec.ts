import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "chai";
import { type WebSocket, WebSocketServer } from "ws";
import { monotonicMicroseconds } from "../../bench/clock.js";
import { type Connection, openConnection } from "../../bench/connection.js";

describe("A connection of the load generator", () => {
  let server: WebSocketServer;
  let url: string;
  const opened: Connection[] = [];

  beforeEach(async () => {
    server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/ws`;
  });

  afterEach(async () => {
    for (const connection of opened.splice(0)) connection.destroy();
    for (const client of server.clients) client.terminate();
    await new Promise((resolve) => server.close(resolve));
  });

  async function open(options: Omit<Parameters<typeof openConnection>[0], "url"> = {}): Promise<Connection> {
    const connection = await openConnection({ url, ...options });
    opened.push(connection);
    return connection;
  }

  it("counts what comes right behind the handshake", async () => {
    server.on("connection", (socket) => {
      for (let index = 0; index < 1000; index++) socket.send("x".repeat(330));
    });
    const { counter } = await open();
    await until(() => counter.messages === 1000);
    expect(counter.payloadBytes).to.equal(330_000);
  });

  it("answers a ping with its payload", async () => {
    const connected = once(server, "connection") as Promise<[WebSocket]>;
    await open();
    const [socket] = await connected;
    socket.ping("still there?");
    const [payload] = await once(socket, "pong");
    expect(String(payload)).to.equal("still there?");
  });

  it("subscribes and has joined only when the server says ready, and counts from then on as told", async () => {
    const heard: string[] = [];
    server.on("connection", (socket) => {
      socket.on("message", (text) => {
        heard.push(`${socket.protocol} ${text}`);
        for (const type of ["welcome", "snapshot", "ready"]) socket.send(JSON.stringify({ type }));
        socket.send(JSON.stringify({ interface: "items", data: "x".repeat(300) }));
        socket.send(JSON.stringify({ type: "progress" }));
      });
    });
    const firstMessage = JSON.stringify({ type: "subscribe", id: "1", interface: "items" });
    const { counter } = await open({
      protocol: "tailgate.v1",
      firstMessages: [firstMessage],
      readyText: '"ready"',
      smallBelowBytes: 128,
    });
    await until(() => counter.small === 4 && counter.messages === 1);
    expect(heard).to.deep.equal([`tailgate.v1 ${firstMessage}`]);
  });

  it("sends its token, and has joined when every subscription is ready", async () => {
    const tokens: (string | undefined)[] = [];
    const heard: string[] = [];
    const connected = new Promise<WebSocket>((resolve) => {
      server.on("connection", (socket, request) => {
        tokens.push(request.headers.authorization);
        socket.on("message", (text) => {
          if (heard.push(String(text)) === 2) resolve(socket);
        });
      });
    });
    let isOpen = false;
    const opening = open({ token: "a.b.c", firstMessages: ["one", "two"], readyText: "ready" }).then(() => {
      isOpen = true;
    });
    const socket = await connected;
    expect(tokens).to.deep.equal(["Bearer a.b.c"]);
    expect(heard).to.deep.equal(["one", "two"]);
    socket.send("ready");
    socket.ping();
    await once(socket, "pong");
    expect(isOpen).to.equal(false);
    socket.send("ready");
    await opening;
  });

  it("tells its listener of messages from the first on, of pongs and of the end", async () => {
    server.on("connection", (socket) => socket.send("welcome"));
    const told: string[] = [];
    const connection = await openConnection(
      { url, readyText: "welcome" },
      {
        message: (payload) => told.push(Buffer.from(payload).toString()),
        pong: () => told.push("pong"),
        closed: () => told.push("closed"),
      },
    );
    opened.push(connection);
    connection.ping();
    await until(() => told.length === 2);
    for (const client of server.clients) client.send("more");
    await until(() => told.length === 3);
    for (const client of server.clients) client.terminate();
    await until(() => told.length === 4);
    expect(told).to.deep.equal(["welcome", "pong", "more", "closed"]);
  });

  it("takes the time since a document was written", async () => {
    server.on("connection", (socket) => {
      socket.send(JSON.stringify({ data: { written_at_us: monotonicMicroseconds() - 5_000 } }));
    });
    const connection = await open({ sample: true });
    await until(() => connection.counter.messages === 1);
    expect(connection.latencies).to.have.length(1);
    expect(connection.latencies[0]).to.be.within(5_000, 5_000_000);
  });

  it("keeps the code with which the server closed it", async () => {
    const connected = once(server, "connection") as Promise<[WebSocket]>;
    const connection = await open();
    const [socket] = await connected;
    socket.close(4508, "too slow");
    await until(() => connection.closeCode !== undefined);
    expect(connection.closeCode).to.equal(4508);
  });

  it("says how a server refused it", async () => {
    const http = createServer().on("upgrade", (_, socket) => socket.end("HTTP/1.1 401 Unauthorized\r\n\r\n"));
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const refusal = await openConnection({ url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}/ws` }).then(
      () => "accepted",
      (error: Error) => error.message,
    );
    await new Promise((resolve) => http.close(resolve));
    expect(refusal).to.contain("HTTP/1.1 401 Unauthorized");
  });
});

/** Gives up by itself: a wait that outlived its spec would keep the process alive. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("what was waited for did not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
