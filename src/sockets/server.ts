import type { Authenticate } from "../auth/authenticate.js";
import type { VerifyToken } from "../auth/tokens.js";
import type { Settings } from "../config/settings.js";
import type { Dispatcher, Publisher } from "../dispatcher/dispatcher.js";
import type { Snapshots } from "../dispatcher/snapshot.js";
import type { Logger } from "../log.js";
import { closeCodes, subprotocol, websocketPath } from "../message.js";
import { gaugeOf, type Metrics } from "../metrics.js";
import { sleep } from "../retry.js";
import { once, type Service } from "../service.js";
import { admit, expired } from "./admission.js";
import { createAnchor } from "./anchor.js";
import { type Admission, type Connection, closeReason, createConnection, type Socket } from "./connection.js";
import { createExpiry } from "./expiry.js";
import type { Front } from "./front.js";
import { createGate } from "./gate.js";
import { listen } from "./listen.js";
import { LiveConnections } from "./live.js";
import { createSweep } from "./sweep.js";
import { readUpgrade } from "./upgrade-request.js";
import { UserConnections } from "./users.js";
import {
  App,
  DISABLED,
  type HttpRequest,
  type HttpResponse,
  type us_listen_socket,
  us_listen_socket_close,
  type us_socket_context_t,
  us_socket_local_port,
} from "./uws.js";

/** What waits for a slow reader when the gateway stops gets this long to leave, in milliseconds. */
const lingerMilliseconds = 1_000;
/** The part of the stop's grace that requests in flight have: one slow client must not take the time of all that stops after. */
const requestsShareOfGrace = 0.5;
/** A document of 16 MB, MongoDB's largest, as a message: written without loss it can be several times as long. */
const largestMessageBytes = 128_000_000;
/** Sockets that are ended in one turn of the event loop. */
const endsPerTurn = 500;
const minute = 60_000;

export interface Sockets extends Service, Publisher {
  /** The port that is listened on, once started. */
  readonly port: number;
  /** Connections that are open now. */
  readonly size: number;
}

export interface SocketsOptions {
  settings: Settings;
  /** Says who connects. */
  authenticate: Authenticate;
  verifyToken: VerifyToken;
  snapshots: Snapshots;
  dispatcher: Dispatcher;
  /** Answers every request that is not a websocket. */
  front: Front;
  /** Resolves when nothing else is under way in a gateway that stops: until then HTTP connections that are open are served. */
  drained: () => Promise<unknown>;
  log: Logger;
  metrics: Metrics;
}

/** The one public port: websockets are its own, every other request goes to the API. */
export function createSockets(options: SocketsOptions): Sockets {
  const { settings, dispatcher, front, log, metrics } = options;
  const limitBytes = settings.limits.bufferedMegabytes * 1_000_000;
  const payloadBytes = settings.limits.payloadKilobytes * 1_024;
  const sockets = new Set<Socket>();
  const users = new UserConnections();
  const expiry = createExpiry((socket) => {
    const { code, reason } = expired(settings);
    end(socket, code, reason);
  });
  const anchor = createAnchor();
  const gate = createGate();
  gaugeOf(
    metrics,
    "tailgate_connections_waiting",
    "Websocket connections that wait for their turn to be let in",
    () => gate.waiting,
  );
  const app = App();
  const live = new LiveConnections({
    ...options,
    fullBytes: limitBytes / 2,
    end,
    identified(socket, user, endsAt) {
      const { connection } = socket.getUserData();
      expiry.file(socket, endsAt);
      users.leave(connection.user ?? null);
      connection.user = user;
      const count = users.enter(user);
      if (count > settings.limits.connectionsPerUser) {
        end(socket, closeCodes.tooMany, `more than ${settings.limits.connectionsPerUser} connections of one user`);
      }
    },
  });
  const sweep = createSweep({
    limitBytes,
    sockets,
    end: (socket) => end(socket, closeCodes.tooSlow, "too slow a reader"),
  });
  let listening: us_listen_socket | undefined;
  let port = 0;
  let isStopping = false;

  app.ws<{ readonly connection: Connection }>(websocketPath, {
    compression: DISABLED,
    // uWebSockets pings a quiet peer in time, and closes it when nothing came back.
    idleTimeout: settings.limits.idleSeconds,
    sendPingsAutomatically: true,
    // The sweep ends a slow reader long before uWebSockets would begin to drop its messages, the close frame among them.
    maxBackpressure: 4 * limitBytes + largestMessageBytes,
    // Over this uWebSockets cuts the connection without a code, so that it is a last resort.
    maxPayloadLength: 16 * payloadBytes,
    upgrade,
    open(socket) {
      const { connection } = socket.getUserData();
      if (connection.refusal !== undefined) {
        socket.end(connection.refusal.code, closeReason(connection.refusal.reason));
        return;
      }
      if (isStopping) {
        socket.end(closeCodes.goingAway, stoppingReason);
        return;
      }
      sockets.add(socket);
      expiry.file(socket, connection.endsAt);
      metrics.connections.inc({ mode: connection.mode });
      if (users.enter(connection.user ?? null) > settings.limits.connectionsPerUser) {
        end(socket, closeCodes.tooMany, `more than ${settings.limits.connectionsPerUser} connections of one user`);
        return;
      }
      if (connection.mode === "live") {
        live.open(socket);
        return;
      }
      for (const view of connection.views) socket.subscribe(view.plainTopic);
      // While it was waiting to open, what it waited for may have been reset.
      if (connection.views.some((view) => view.isVoid)) end(socket, closeCodes.reset, "reset: fetch again");
    },
    message(socket, message, isBinary) {
      const { connection } = socket.getUserData();
      if (message.byteLength > payloadBytes) end(socket, closeCodes.tooBig, `a message over ${payloadBytes} bytes`);
      else if (!mayStillSend(connection, settings.limits.messagesPerMinute)) {
        end(socket, closeCodes.tooMany, `more than ${settings.limits.messagesPerMinute} messages a minute`);
      } else if (connection.mode === "live") {
        if (isBinary) end(socket, closeCodes.malformed, "a message is a text frame");
        else live.receive(socket, message);
      }
    },
    // A large message that is sent in this very handler, and does not leave whole, would stay: uWebSockets asks the system to be
    // told when there is room, and then takes that back as it leaves the handler.
    drain(socket) {
      setImmediate(() => live.drained(socket));
    },
    dropped(socket) {
      // Something was lost, so the connection can't go on. Touching the socket in this very handler crashes the process.
      setImmediate(() => {
        if (sockets.has(socket)) socket.close();
      });
    },
    close(socket, code) {
      const { connection } = socket.getUserData();
      // A client chooses its own code: what is not known must not become a series of its own.
      metrics.connectionsClosed.inc({ code: knownCodes.has(code) ? code : "other" });
      if (!sockets.delete(socket)) {
        // Refused, or too late: it never counted.
        dispatcher.leave(connection.views);
        return;
      }
      live.close(socket);
      expiry.forget(socket);
      users.leave(connection.user ?? null);
      metrics.connections.dec({ mode: connection.mode });
      dispatcher.leave(connection.views);
    },
  });
  app.any("/*", front.handle);

  function upgrade(res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void {
    const request = readUpgrade(req, settings.auth.sessions === undefined ? undefined : res);
    const key = req.getHeader("sec-websocket-key");
    const extensions = req.getHeader("sec-websocket-extensions");
    // A browser fails a connection that answers none of the protocols it offers, and then hides the close code.
    const protocol = request.protocols.includes(subprotocol) ? subprotocol : (request.protocols[0] ?? "");
    const open = (connection: Connection): void => res.upgrade({ connection }, key, protocol, extensions, context);
    const decide = () => (isStopping ? stoppingAdmission : admit(request, options));
    const turn = gate.enter();
    const admission = turn === undefined ? decide() : turn.then(decide);
    if (admission instanceof Promise) {
      openLater(res, admission.then(connectionOf), open);
      return;
    }
    const connection = connectionOf(admission);
    if (connection.views.every((view) => view.isPrepared)) open(connection);
    else openLater(res, Promise.resolve(connection), open);
  }

  /** Waits for who it is, then for what is followed: open means that every change from here on arrives. */
  function openLater(res: HttpResponse, admitted: Promise<Connection>, open: (connection: Connection) => void): void {
    let aborted = false;
    let views: Connection["views"] = [];
    res.onAborted(() => {
      aborted = true;
      dispatcher.leave(views);
    });
    admitted
      .then(async (connection) => {
        if (aborted) return dispatcher.leave(connection.views);
        views = connection.views;
        await Promise.all(views.map((view) => view.prepared));
        const isPrepared = views.every((view) => view.isPrepared);
        if (!aborted) anchor.corked(() => open(isPrepared ? connection : { ...connection, refusal: unavailable }));
      })
      .catch((error: unknown) => {
        log.error({ err: error }, "connection not opened");
        if (!aborted) res.cork(() => res.close());
      });
  }

  function connectionOf(admission: Admission): Connection {
    if ("refusal" in admission)
      log.info({ code: admission.refusal.code, reason: admission.refusal.reason }, "connection refused");
    return createConnection(admission, settings.limits.messagesPerMinute, minuteFromNow());
  }

  function end(socket: Socket, code: number, reason: string): void {
    log.info({ code, reason }, "connection ended");
    socket.end(code, closeReason(reason));
  }

  async function endAll(): Promise<void> {
    let waiting = false;
    let inThisTurn = 0;
    for (const socket of [...sockets]) {
      if (!sockets.has(socket)) continue;
      waiting ||= socket.getBufferedAmount() > 0;
      socket.end(closeCodes.goingAway, stoppingReason);
      if (++inThisTurn % endsPerTurn === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await sleep(waiting ? lingerMilliseconds : 20);
  }

  return {
    name: "sockets",
    get port() {
      return port;
    },
    get size() {
      return sockets.size;
    },
    publish(topic, message, bytes) {
      app.publish(topic, message, false, false);
      sweep.published(bytes);
    },
    reset(views, reason) {
      for (const socket of [...sockets]) {
        const { connection } = socket.getUserData();
        if (connection.views.some((view) => views.has(view))) end(socket, closeCodes.reset, `${reason}: fetch again`);
      }
      for (const session of live.sessions) session.reset(views, reason);
    },
    async start() {
      await anchor.start();
      listening = await listen(app, settings.host, settings.port);
      port = us_socket_local_port(listening);
      log.info({ host: settings.host, port }, "listening");
    },
    stop: once(async () => {
      isStopping = true;
      const requestsEnd = AbortSignal.timeout(Math.ceil(settings.shutdown.graceSeconds * 1_000 * requestsShareOfGrace));
      if (listening !== undefined) us_listen_socket_close(listening);
      gate.stop();
      await endAll();
      // Who watches `/readyz` sees it say so; a balancer's requests that are on their way are answered.
      await options.drained();
      await front.stop(requestsEnd);
      sweep.stop();
      live.stop();
      expiry.stop();
      app.close();
      await anchor.stop();
    }),
  };
}

const knownCodes = new Set<number>([1000, 1005, 1006, ...Object.values(closeCodes)]);
const unavailable = { code: closeCodes.internal, reason: "the database is not available" };
const stoppingReason = "the gateway is stopping";
const stoppingAdmission: Admission = { refusal: { code: closeCodes.goingAway, reason: stoppingReason } };

function mayStillSend(connection: Connection, messagesPerMinute: number): boolean {
  if (performance.now() >= connection.minuteEnds) {
    connection.minuteEnds = minuteFromNow();
    connection.messagesLeft = messagesPerMinute;
  }
  return connection.messagesLeft-- > 0;
}

/** A whole number: V8 keeps others outside of the object that has them, and connections are many. */
function minuteFromNow(): number {
  return Math.ceil(performance.now()) + minute;
}
