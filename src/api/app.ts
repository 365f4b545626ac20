import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Router from "@koa/router";
import Koa from "koa";
import type { Authenticate } from "../auth/authenticate.js";
import { TailgateError } from "../errors.js";
import type { Metrics } from "../metrics.js";
import { once, type Service } from "../service.js";
import { tasksCollection } from "../tasks/document.js";
import type { Tasks } from "../tasks/tasks.js";
import { asyncApiPart } from "./asyncapi.js";
import { jsonBody, limitBody } from "./body.js";
import { healthPart, type Readiness } from "./health.js";
import { close, createHttpServer, listen, withoutFront } from "./http-server.js";
import { type InterfacesOptions, interfacesPart } from "./interfaces.js";
import { metricsPart } from "./metrics.js";
import { type ApiPart, addOpenApi } from "./openapi.js";
import { answerOtherMethods, problems } from "./problem.js";
import { createReads, type Reads } from "./reads.js";
import { crossOrigin, protectiveHeaders } from "./security.js";
import { taskPaths } from "./task-paths.js";
import { addTasks } from "./tasks.js";
import { timing } from "./timing.js";
import { authenticated } from "./user.js";

/** What requests on the API's own port get to end in when the gateway stops, in milliseconds. */
const graceMilliseconds = 1_000;

export interface Api extends Service {
  /** Where Koa listens: the public port passes requests to it. */
  readonly socketPath: string;
  /** The application's own routes go here; they come after the gateway's. */
  readonly router: Router;
}

export interface ApiOptions extends Omit<InterfacesOptions, "reads"> {
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  readonly tasks: Tasks;
  /** Says who asks. */
  readonly authenticate: Authenticate;
  /** The description of the websocket's messages. */
  readonly asyncApi: object;
  /** The header, in lower case, in which the public port tells the client's address. */
  readonly peerHeader: string;
}

/**
 * The HTTP API. Koa is not on the public port itself: it listens on a socket that only this user can reach, and on a port of
 * its own where one is configured.
 */
export function createApi(options: ApiOptions): Api {
  const { settings, log, metrics } = options;
  const router = new Router({ sensitive: true });
  const applicationRouter = new Router();
  // `proxy` stays off: forwarding headers are whatever a client wrote.
  const koa = new Koa({ proxy: false });
  koa.silent = true;
  koa.use(timing(metrics));
  koa.use(crossOrigin(settings.allowedOrigins));
  koa.use(protectiveHeaders());
  koa.use(problems(log));
  koa.use(authenticated(options.authenticate, options.peerHeader));
  const reads = createReads(options.db);
  // The tasks' own routes come before those that their interface has like any other.
  const parts = [
    healthPart(options.readiness),
    metricsPart({ ...options, isPublic: settings.metrics.public }),
    asyncApiPart(options.asyncApi),
    ...tasksPart(options, reads),
    interfacesPart({ ...options, reads }),
  ];
  // Of the gateway's own routes: those of an application may take what they like.
  router.use(limitBody(settings.limits.payloadKilobytes * 1_024));
  for (const part of parts) part.add(router);
  addOpenApi(router, parts);
  for (const path of ["/openapi.json", ...parts.flatMap((part) => Object.keys(part.paths))]) {
    if (!path.startsWith("/api/"))
      router.all(path, (context) => answerOtherMethods(context, ["GET", "HEAD", "OPTIONS"]));
  }
  koa.use(router.routes()).use(applicationRouter.routes());

  let folder: string | undefined;
  let server: Server | undefined;
  let direct: Server | undefined;
  let socketPath = "";
  return {
    name: "api",
    router: applicationRouter,
    get socketPath() {
      return socketPath;
    },
    async start() {
      folder = await mkdtemp(join(tmpdir(), "tailgate-"));
      socketPath = process.platform === "win32" ? `\\\\.\\pipe\\tailgate-${process.pid}` : join(folder, "api.sock");
      server = createHttpServer(koa.callback());
      await listen(server, { path: socketPath });
      const { port } = settings.api;
      if (port === undefined) return;
      direct = createHttpServer(withoutFront(koa.callback(), options.peerHeader));
      await listenDirectly(direct, settings.host, port);
      log.info({ host: settings.host, port }, "the API listens on a port of its own");
    },
    stop: once(async () => {
      // What came through the public port is done: that has been stopped before.
      await Promise.all([server && close(server, 0), direct && close(direct, graceMilliseconds)]);
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    }),
  };
}

/** Tasks have routes where any are defined. */
function tasksPart({ settings, tasks }: ApiOptions, reads: Reads): ApiPart[] {
  const shown = settings.interfaces.get(tasksCollection);
  if (shown === undefined) return [];
  const readBody = jsonBody(settings.limits.payloadKilobytes * 1_024);
  return [{ paths: taskPaths, add: (router) => addTasks(router, { tasks, settings: shown, readBody, reads }) }];
}

/** @throws TailgateError `port-in-use` */
async function listenDirectly(server: Server, host: string, port: number): Promise<void> {
  try {
    await listen(server, { host, port });
  } catch (error) {
    throw new TailgateError(
      "port-in-use",
      `can't listen on ${host}:${port}: the port is in use or the address is not this machine's. Set api.port to another, or stop what uses it`,
      { cause: error },
    );
  }
}
