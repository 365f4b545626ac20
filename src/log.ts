import { type DestinationStream, destination, type Logger, pino } from "pino";

export type { Logger };

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

const credentialsInUri = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"]*@/gi;
/** Parameters of URLs and of database URIs that are secret, and the cookie that holds a token. */
const secretParameter =
  /(\b(?:token|access_token|api_key|tailgate_token|tlsCertificateKeyFilePassword|proxyPassword|authMechanismProperties)=)[^&;\s"]+/gi;
const authorization = /(\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}/gi;

/**
 * @param text - anything that may end in a log, an error or an answer
 * @returns the text with credentials in URIs, tokens in queries and bearer tokens replaced by `[redacted]`
 */
export function redact(text: string): string {
  return text
    .replace(credentialsInUri, "$1[redacted]@")
    .replace(secretParameter, "$1[redacted]")
    .replace(authorization, "$1[redacted]");
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
      serializers: { err: (error: unknown) => serializeError(error) },
    },
    // Credentials hide in places that no path names: the text of a driver's error, a URL in a message. So whole lines
    // are looked over as well.
    { write: (line: string) => stream.write(redact(line)) },
  );
}

/** @param depth - an error can be its own cause */
function serializeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  if (depth > 5) return error.message;
  const { code, cause, stack } = error as Error & { code?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    stack,
    ...(cause === undefined ? {} : { cause: serializeError(cause, depth + 1) }),
  };
}
