import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Router from "@koa/router";
import Koa from "koa";
import helmet from "koa-helmet";
import type { Logger } from "../log.js";
import type { Metrics } from "../metrics.js";
import { once, type Service } from "../service.js";
import { addHealth, type Readiness } from "./health.js";
import { problems } from "./problem.js";

export interface Api extends Service {
  /** Where Koa listens: the public port passes requests to it. */
  readonly socketPath: string;
  /** The application's own routes go here; they come after the gateway's. */
  readonly router: Router;
}

export interface ApiOptions {
  log: Logger;
  metrics: Metrics;
  readiness: Readiness;
}

/** The HTTP API. Koa is not on the public port itself: it listens on a socket that only this user can reach. */
export function createApi(options: ApiOptions): Api {
  const router = new Router();
  const applicationRouter = new Router();
  const koa = new Koa();
  koa.silent = true;
  koa.use(problems(options.log));
  koa.use(helmet());
  addHealth(router, options.readiness, options.metrics);
  koa.use(router.routes()).use(applicationRouter.routes());

  let folder: string | undefined;
  let server: Server | undefined;
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
      server = createServer(koa.callback());
      await listen(server, socketPath);
    },
    stop: once(async () => {
      server?.closeAllConnections();
      await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
