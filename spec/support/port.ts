import { once } from "node:events";
import { createServer } from "node:net";

/** Below where systems take ports from for those that ask for any, and for outgoing connections (Linux: 32768 and up). */
const range = { from: 12_000, to: 32_000 };

/**
 * @returns a port of 127.0.0.1 for a server that is started later, or that goes away and comes back: nobody is given it meanwhile
 *   who does not ask for it by its number
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = range.from + Math.floor(Math.random() * (range.to - range.from));
    const probe = createServer().listen(port, "127.0.0.1");
    try {
      await once(probe, "listening");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") continue;
      throw error;
    }
    probe.close();
    await once(probe, "close");
    return port;
  }
}
