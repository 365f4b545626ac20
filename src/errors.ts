/** What an error asks of a process that can't go on: the exit codes that scripts and supervisors rely on. */
export const exitCodes = { ok: 0, failure: 1, usage: 2, unavailable: 69, configuration: 78 } as const;

/**
 * The base of every error that Tailgate raises itself. `code` is stable and machine-readable; the message tells a
 * person what was wrong and what would be right. Callers decide by class or `code`, never by the text.
 */
export class TailgateError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The configuration can't be used; nothing was started. The process exits with 78. */
export class ConfigurationError extends TailgateError {
  constructor(message: string, options?: ErrorOptions) {
    super("bad-configuration", message, options);
  }
}

/** The command line can't be understood. The process exits with 2. */
export class UsageError extends TailgateError {
  constructor(message: string, options?: ErrorOptions) {
    super("usage", message, options);
  }
}

/** The database did not answer in the time that start-up allows. The process exits with 69. */
export class DatabaseUnreachableError extends TailgateError {
  constructor(message: string, options?: ErrorOptions) {
    super("database-unreachable", message, options);
  }
}

/**
 * A request that can't be answered as it was asked. `status` is the HTTP status and `code` the stable name of the
 * problem; both modes of the websocket and the API answer with the same pair.
 */
export class RequestError extends TailgateError {
  readonly status: number;
  /** Further members of the problem document, such as the path of a bad value. */
  readonly extensions: Readonly<Record<string, unknown>>;

  constructor(
    status: number,
    code: string,
    message: string,
    extensions: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(code, message, options);
    this.status = status;
    this.extensions = extensions;
  }
}

/**
 * @param error - whatever ended the process
 * @returns the exit code of the contract for it
 */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ConfigurationError) return exitCodes.configuration;
  if (error instanceof UsageError) return exitCodes.usage;
  if (error instanceof DatabaseUnreachableError) return exitCodes.unavailable;
  return exitCodes.failure;
}

/** @returns whether it comes of the operating system, such as a connection that broke */
export function isSystemError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && "code" in error;
}
