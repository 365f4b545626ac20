import { type DestinationStream, destination, type Logger, pino } from "pino";

export type { Logger };

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

const credentialsInUri = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/gi;
const tokenInQuery = /([?&](?:token|access_token|api_key)=)[^&\s"]+/gi;
const bearer = /(\bBearer\s+)[\w.~+/=-]+/gi;

/**
 * @param text - anything that may end in a log, an error or an answer
 * @returns the text with credentials in URIs, tokens in queries and bearer tokens replaced by `[redacted]`
 */
export function redact(text: string): string {
  return text
    .replace(credentialsInUri, "$1[redacted]@")
    .replace(tokenInQuery, "$1[redacted]")
    .replace(bearer, "$1[redacted]");
}

/**
 * The gateway's log: JSON lines on standard error, for standard output belongs to data.
 *
 * @param level - pino's level names
 * @param stream - where the lines go; specs collect them
 */
export function createLog(level: LogLevel, stream: DestinationStream = destination({ fd: 2, sync: true })): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: {
        paths: [
          "secret",
          "token",
          "password",
          "authorization",
          "cookie",
          "*.secret",
          "*.token",
          "*.password",
          "*.authorization",
          "*.cookie",
        ],
        censor: "[redacted]",
      },
      serializers: { err: serializeError },
    },
    // Credentials hide in places that no path names: the text of a driver's error, a URL in a message. So whole lines
    // are looked over as well.
    { write: (line: string) => stream.write(redact(line)) },
  );
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { code, cause, stack } = error as Error & { code?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    stack,
    ...(cause === undefined ? {} : { cause: serializeError(cause) }),
  };
}
