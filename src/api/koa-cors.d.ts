/** The package has no types of its own; this is what is used of it. */
declare module "@koa/cors" {
  import type { Context, Middleware } from "koa";

  export default function cors(options: {
    origin: (context: Context) => string;
    credentials?: boolean;
    allowMethods?: string[];
    exposeHeaders?: string[];
    maxAge?: number;
  }): Middleware;
}
