import { once } from "node:events";
import { createServer } from "node:net";
import type { Settings } from "../config/settings.js";
import { createHttpClient } from "../http-client.js";
import { createMetrics } from "../metrics.js";
import { type Finding, messageOf } from "./finding.js";

/** Whether the gateway could listen where it is configured to. */
export async function portFindings(settings: Settings): Promise<Finding[]> {
  const { host, port } = settings;
  if (port === 0) return [{ area: "port", level: "ok", what: `a free port of ${host} is taken at each start` }];
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const error = await tryToListen(host, port);
  if (error === undefined) return [{ area: "port", level: "ok", what: `${address} is free` }];
  if (error.code === "EADDRINUSE" && (await isGateway(settings, address))) {
    return [
      {
        area: "port",
        level: "note",
        what: `a gateway is listening on ${address} already`,
        consequence: "a second one could not start there",
      },
    ];
  }
  return [
    {
      area: "port",
      level: "problem",
      what: explain(error, address),
      consequence: "the gateway can't start",
      fix: "stop what uses the port, or set HOST and PORT to an address that is free",
    },
  ];
}

async function tryToListen(host: string, port: number): Promise<NodeJS.ErrnoException | undefined> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return undefined;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

async function isGateway(settings: Settings, address: string): Promise<boolean> {
  const http = createHttpClient(settings.http, createMetrics());
  const reachable = address.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
  try {
    const answer = await http
      .get(`http://${reachable}/version`, { timeout: 2_000, retry: 0 })
      .json<{ name?: unknown }>();
    return answer.name === "tailgate";
  } catch {
    // Whatever listens there, it does not answer as a gateway does.
    return false;
  }
}

function explain(error: NodeJS.ErrnoException, address: string): string {
  if (error.code === "EADDRINUSE") return `${address} is in use by another program`;
  if (error.code === "EACCES") return `this user may not listen on ${address}: ports below 1024 need a privilege`;
  if (error.code === "EADDRNOTAVAIL") return `${address} is not an address of this machine`;
  return `can't listen on ${address}: ${messageOf(error)}`;
}
