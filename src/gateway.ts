import type Router from "@koa/router";
import type { Db, Document } from "mongodb";
import { type Api, createApi } from "./api/app.js";
import { createAuthenticator } from "./auth/authenticate.js";
import { settingsOf } from "./config/load.js";
import { secretWeakness } from "./config/secret.js";
import type { Options, Settings } from "./config/settings.js";
import { createDatabase } from "./database.js";
import { createDispatcher } from "./dispatcher/dispatcher.js";
import { createViewReader } from "./dispatcher/reader.js";
import { Snapshots } from "./dispatcher/snapshot.js";
import { createExecutors, type Executors } from "./executors/pools.js";
import { createHttpClient, type HttpClient } from "./http-client.js";
import { createLog, type Logger } from "./log.js";
import type { Operation } from "./message.js";
import { createMetrics, gaugeOf } from "./metrics.js";
import { parsePosition } from "./position.js";
import { once, startServices, stopServices } from "./service.js";
import { asyncApi } from "./sockets/asyncapi.js";
import { createFront } from "./sockets/front.js";
import { createSockets } from "./sockets/server.js";
import { withTasksInterface } from "./tasks/document.js";
import { createTasks, type Tasks } from "./tasks/tasks.js";
import { Bookmarks } from "./watcher/bookmarks.js";
import { createOplog } from "./watcher/oplog.js";
import { createPast } from "./watcher/past.js";
import { createWatcher, type Sink } from "./watcher/watcher.js";

/** What an application that embeds the gateway holds of it. */
export interface Gateway {
  /** The port that is listened on. */
  readonly port: number;
  /** The one client for outgoing HTTP requests. */
  readonly http: HttpClient;
  /** The driver's database; nothing wraps writes. */
  readonly db: Db;
  /** For the application's own routes. */
  readonly router: Router;
  readonly log: Logger;
  readonly executors: Executors;
  readonly runInThread: Executors["runInThread"];
  readonly runInProcess: Executors["runInProcess"];
  /**
   * Sends a message that is no change of the database to the plain connections that may read the interface.
   *
   * @param data - for insert and update the document, for delete the list of removed ids
   */
  dispatch(interfaceName: string, operation: Operation, data: Document | readonly unknown[]): void;
  /** Stops in reverse of the start, under one deadline; a second call returns the first one's promise. */
  stop(): Promise<void>;
}

/**
 * Starts a gateway inside an application.
 *
 * @param options - the keys of the configuration file; `read` and `write` may be functions, `representation` too
 * @returns the gateway, started
 * @throws ConfigurationError, DatabaseUnreachableError, or whatever kept a service from starting; nothing is left running
 */
export async function createGateway(options: Options = {}): Promise<Gateway> {
  const settings = settingsOf(options);
  return startGateway(settings, createLog(settings.logLevel));
}

/**
 * Puts the services in order and starts them.
 *
 * @param signal - gives start-up up
 * @param options.startTimeoutMilliseconds - how long the database may take to answer, and its change stream to open
 */
export async function startGateway(
  configured: Settings,
  log: Logger,
  signal: AbortSignal = new AbortController().signal,
  options: { startTimeoutMilliseconds?: number } = {},
): Promise<Gateway> {
  const settings = withTasksInterface(configured);
  const deadlineMilliseconds = settings.shutdown.graceSeconds * 1_000;
  const metrics = createMetrics();
  let stopping = false;
  const http = createHttpClient(settings.http, metrics);
  const executors = createExecutors({
    threads: { max: settings.executors.threads },
    processes: { max: settings.executors.processes },
    queue: settings.executors.queue,
    log,
  });
  const database = createDatabase({ uri: settings.mongodbUri, log, ...options });
  const reader = createViewReader(database, settings.snapshots, log);
  const collections = new Set([...settings.interfaces.values()].map((each) => each.collection));
  const oplog = createOplog({ client: database.client, log });
  const bookmarks = new Bookmarks();
  const dispatcher = createDispatcher({
    interfaces: settings.interfaces,
    reader,
    history: settings.history,
    readPast: createPast({
      database,
      collections,
      oplog,
      bookmarks,
      undecodable: (error) => log.error({ err: error }, "past document not decoded"),
    }),
    bytesPerTurn: (settings.limits.bufferedMegabytes * 1_000_000) / 2,
    log,
    metrics,
  });
  const tasks = createTasks({
    definitions: settings.taskDefinitions,
    settings: settings.tasks,
    database,
    executors,
    http,
    log,
    metrics,
    stopMilliseconds: deadlineMilliseconds,
    ...options,
  });
  const watcher = createWatcher({
    database,
    collections,
    oplog,
    bookmarks,
    sink: tasks.definitions.size === 0 ? dispatcher : withTasks(dispatcher, tasks),
    log,
    metrics,
    ...options,
  });
  const readiness = (): string[] => {
    if (stopping) return ["the gateway is stopping"];
    const away = database.isReachable ? undefined : "the database is not reachable";
    return [away, watcher.trouble].filter((reason) => reason !== undefined);
  };
  const { authenticate, verifyToken } = createAuthenticator(settings.auth, { http, log });
  const peerHeader = "tailgate-peer";
  const api: Api = createApi({
    settings,
    authenticate,
    peerHeader,
    asyncApi: asyncApi(),
    db: database.db,
    dispatcher,
    tasks,
    head: () => watcher.head,
    tag: () => database.tag,
    matching: () => database.support,
    log,
    metrics,
    readiness,
  });
  const front = createFront({ target: api, peerHeader: { name: peerHeader }, log });
  const snapshots = new Snapshots({
    reader,
    head: () => dispatcher.head,
    replays: dispatcher.replays,
    replayBytes: settings.history.megabytes * 1_000_000,
    quarantine: dispatcher.quarantine,
  });
  // What comes of it is met again in the tasks' turn to stop.
  const drained = () => tasks.stop().catch(() => undefined);
  const sockets = createSockets({
    settings,
    authenticate,
    verifyToken,
    dispatcher,
    snapshots,
    front,
    drained,
    log,
    metrics,
  });
  dispatcher.attach(sockets);
  gaugeOf(
    metrics,
    "tailgate_stream_lag_seconds",
    "Seconds since the last batch of the change stream, empty or not",
    () => watcher.lagSeconds,
  );

  gaugeOf(
    metrics,
    "tailgate_oplog_headroom_seconds",
    "Seconds of history between the oldest entry of the oplog and the stream's place; absent where the oplog can't be read",
    () => oplog.headroomSeconds(watcher.head),
  );
  gaugeOf(
    metrics,
    "tailgate_history_window_seconds",
    "Seconds of changes that are kept in memory for clients that join or return",
    () => secondsBetween(dispatcher.history.start, dispatcher.head),
  );

  const weakness = secretWeakness(settings.auth.jwt);
  if (weakness !== undefined) log.warn(weakness);

  const services = [executors, database, dispatcher, watcher, oplog, tasks, api, sockets];
  await startServices(services, { log, signal, deadlineMilliseconds });
  log.info({ port: sockets.port, interfaces: [...settings.interfaces.keys()] }, "gateway started");
  return {
    get port() {
      return sockets.port;
    },
    http,
    db: database.db,
    router: api.router,
    log,
    executors,
    runInThread: executors.runInThread,
    runInProcess: executors.runInProcess,
    dispatch: dispatcher.dispatch,
    stop: once(async () => {
      stopping = true;
      log.info("gateway stopping");
      // The tasks' grace begins now, not when the last request has been answered.
      void drained();
      await stopServices(services, { log, deadlineMilliseconds });
      log.info("gateway stopped");
    }),
  };
}

function secondsBetween(from: string | undefined, to: string | undefined): number | undefined {
  const [start, end] = [parsePosition(from ?? ""), parsePosition(to ?? "")];
  return start === undefined || end === undefined ? undefined : end.seconds - start.seconds;
}

/** Tasks are started by the very changes that clients are shown. */
function withTasks(sink: Sink, tasks: Tasks): Sink {
  return {
    dispatchBatch(events, from) {
      const next = sink.dispatchBatch(events, from);
      for (const event of events.slice(from, next)) tasks.onEvent(event);
      return next;
    },
    advance: (position, read) => sink.advance(position, read),
  };
}
