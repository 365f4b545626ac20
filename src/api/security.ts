import cors from "@koa/cors";
import type { Middleware } from "koa";
import helmet from "koa-helmet";

/**
 * Lets pages of the listed origins read the answers; pages of the same host need no leave.
 *
 * @param allowedOrigins - exact origins, such as `https://app.example.com`
 */
export function crossOrigin(allowedOrigins: readonly string[]): Middleware {
  return cors({
    origin: (context) => {
      const origin = context.get("Origin");
      return allowedOrigins.includes(origin) ? origin : "";
    },
    credentials: true,
    allowMethods: ["GET", "HEAD", "POST", "PATCH", "DELETE"],
    exposeHeaders: ["ETag", "Location", "Retry-After", "Tailgate-Position"],
    maxAge: 600,
  });
}

/**
 * Headers that make browsers careful. The gateway speaks plain HTTP, and what ends TLS in front of it decides about
 * HSTS: promised here, it would lock a developer's browser out of `http://localhost`. A page of the application's own
 * routes has its own scripts and its own policy; all that is no page may load nothing.
 */
export function protectiveHeaders(): Middleware {
  const general = helmet({
    contentSecurityPolicy: false,
    strictTransportSecurity: false,
    // Browsers ignore both on plain HTTP, with a warning on the page's console.
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
  }) as Middleware;
  return (context, next) =>
    general(context, async () => {
      await next();
      if (!context.type.includes("html") && !context.res.hasHeader("Content-Security-Policy")) {
        context.set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
      }
    });
}
