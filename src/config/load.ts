import { type LogLevel, logLevels } from "../log.js";
import { defaultAlgorithms, defaults } from "./defaults.js";
import { type RawOptions, readConfigurationFile } from "./file.js";
import { defaultMongodbUri, mongodbUriProblem } from "./mongodb-uri.js";
import { hostProblem, normalizePaths } from "./names.js";
import { nearest, type Problem, throwProblems } from "./problems.js";
import type { CheckedOptions } from "./schema.js";
import type { AuthSettings, InterfaceSettings, JwtSettings, Options, Settings } from "./settings.js";
import { validateOptions } from "./validate.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from the command line, as written. */
export interface Flags {
  readonly config?: string | undefined;
  readonly mongo?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly logLevel?: string | undefined;
}

interface Scalars {
  mongo?: string;
  host?: string;
  port?: number;
  logLevel?: LogLevel;
}

/**
 * The configuration of a gateway that is started by the command: flag over environment over file over default.
 *
 * @param from.flags - what the command line says
 * @param from.environment - `TAILGATE_CONFIG`, `MONGODB_URI`, `HOST`, `PORT` and `LOG_LEVEL`; an empty one counts as unset
 * @param from.workingDirectory - where relative paths begin and `tailgate.config.yaml` is looked for
 * @throws {ConfigurationError} naming everything that is wrong at once
 */
export async function loadSettings(
  from: { flags?: Flags; environment?: Environment; workingDirectory?: string } = {},
): Promise<Settings> {
  const { flags = {}, environment = process.env, workingDirectory = process.cwd() } = from;
  const problems: Problem[] = [];
  const fromEnvironment = environmentScalars(environment, problems);
  const fromFlags = flagScalars(flags, problems);
  const wanted = flags.config ?? setting(environment, "TAILGATE_CONFIG");
  const read = await readConfigurationFile(wanted, workingDirectory, problems);
  const options = read === undefined ? {} : validateOptions(read.options, problems);
  throwProblems(problems);
  const scalars = { ...scalarsOf(options), ...fromEnvironment, ...fromFlags };
  return complete({ ...options, ...scalars }, replicaUri(environment, workingDirectory), read?.file);
}

/**
 * The configuration of a gateway inside an application. What the code says holds; the environment fills in what it
 * leaves out, and no file is read.
 *
 * @param options - what `createGateway` was given
 * @param environment - see {@link loadSettings}; `TAILGATE_CONFIG` is not looked at
 * @throws {ConfigurationError} naming everything that is wrong at once
 */
export function settingsOf(
  options: Options = {},
  environment: Environment = process.env,
  workingDirectory: string = process.cwd(),
): Settings {
  const problems: Problem[] = [];
  const fromEnvironment = environmentScalars(environment, problems);
  const raw: RawOptions = { value: options, isCode: true, locate: () => "createGateway(options)" };
  const checked = validateOptions(raw, problems);
  throwProblems(problems);
  const scalars = { ...fromEnvironment, ...scalarsOf(checked) };
  return complete({ ...checked, ...scalars }, replicaUri(environment, workingDirectory));
}

function replicaUri(environment: Environment, workingDirectory: string): string {
  return defaultMongodbUri(workingDirectory, setting(environment, "REPLICA_DIR"));
}

function environmentScalars(environment: Environment, problems: Problem[]): Scalars {
  return scalars("the environment", problems, {
    mongo: ["MONGODB_URI", setting(environment, "MONGODB_URI")],
    host: ["HOST", setting(environment, "HOST")],
    port: ["PORT", setting(environment, "PORT")],
    logLevel: ["LOG_LEVEL", setting(environment, "LOG_LEVEL")],
  });
}

function flagScalars(flags: Flags, problems: Problem[]): Scalars {
  return scalars("the command line", problems, {
    mongo: ["--mongo", flags.mongo],
    host: ["--host", flags.host],
    port: ["--port", flags.port],
    logLevel: ["--log-level", flags.logLevel],
  });
}

/** Shells and container tools set a variable to nothing where a person means to leave it unset. */
function setting(environment: Environment, name: string): string | undefined {
  return environment[name] === "" ? undefined : environment[name];
}

type Written = readonly [name: string, value: string | undefined];

function scalars(source: string, problems: Problem[], written: Record<keyof Scalars, Written>): Scalars {
  const result: Scalars = {};
  const refuse = (path: string, message: string | undefined): boolean => {
    if (message !== undefined) problems.push({ source, path, message });
    return message !== undefined;
  };
  const [[mongoName, mongo], [hostName, host], [portName, port], [levelName, level]] = [
    written.mongo,
    written.host,
    written.port,
    written.logLevel,
  ];
  if (mongo !== undefined && !refuse(mongoName, mongodbUriProblem(mongo))) result.mongo = mongo;
  if (host !== undefined && !refuse(hostName, hostProblem(host))) result.host = host;
  if (port !== undefined && !refuse(portName, portProblem(port))) result.port = Number(port);
  if (level !== undefined && !refuse(levelName, levelProblem(level))) result.logLevel = level as LogLevel;
  return result;
}

function portProblem(text: string): string | undefined {
  const isPort = /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
  return isPort ? undefined : `must be a whole number from 0 to 65535, not ${JSON.stringify(text)}`;
}

function levelProblem(text: string): string | undefined {
  if ((logLevels as readonly string[]).includes(text)) return undefined;
  const meant = nearest(text, logLevels);
  const hint = meant === undefined ? "" : `; did you mean ${meant}?`;
  return `must be one of ${logLevels.join(", ")}, not ${JSON.stringify(text)}${hint}`;
}

function scalarsOf(options: CheckedOptions = {}): Scalars {
  const { mongo, host, port, logLevel } = options;
  return {
    ...(mongo !== undefined && { mongo }),
    ...(host !== undefined && { host }),
    ...(port !== undefined && { port }),
    ...(logLevel !== undefined && { logLevel }),
  };
}

function complete(options: CheckedOptions, defaultUri: string, file?: string): Settings {
  const { definitions = [], ...taskLimits } = options.tasks ?? {};
  return {
    ...(file !== undefined && { file }),
    mongodbUri: options.mongo ?? defaultUri,
    host: options.host ?? defaults.host,
    port: options.port ?? defaults.port,
    logLevel: options.logLevel ?? defaults.logLevel,
    interfaces: interfacesOf(options.interfaces ?? {}),
    auth: authOf(options.auth ?? {}),
    allowedOrigins: [...new Set(options.allowedOrigins ?? [])],
    history: over(defaults.history, options.history),
    snapshots: { readConcern: options.snapshots?.readConcern ?? defaults.snapshots.readConcern },
    limits: over(defaults.limits, options.limits),
    tasks: over(defaults.tasks, taskLimits),
    taskDefinitions: definitions,
    http: over(defaults.http, options.http),
    executors: over(defaults.executors, options.executors),
    metrics: over(defaults.metrics, options.metrics),
    api: options.api?.port === undefined ? {} : { port: options.api.port },
    shutdown: over(defaults.shutdown, options.shutdown),
  };
}

/** `{ ...base, ...given }`, but a key that is there with `undefined`, as code often has it, takes the default as well. */
function over<Group extends object>(
  base: Group,
  given: { readonly [Key in keyof Group]?: unknown } = {},
): { [Key in keyof Group]: Group[Key] extends number ? number : Group[Key] extends boolean ? boolean : string } {
  const said = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(said) } as ReturnType<typeof over<Group>>;
}

function interfacesOf(configured: NonNullable<CheckedOptions["interfaces"]>): ReadonlyMap<string, InterfaceSettings> {
  return new Map(
    Object.entries(configured).map(([name, options]) => {
      const { collection = name, fields, representation, read = false, write = false, filterable = [] } = options;
      const settings: InterfaceSettings = {
        name,
        collection,
        ...(fields !== undefined && { fields: normalizePaths(fields) }),
        ...(representation !== undefined && { representation }),
        read,
        write,
        filterable: normalizePaths(filterable),
      };
      return [name, settings];
    }),
  );
}

function authOf(options: NonNullable<CheckedOptions["auth"]>): AuthSettings {
  const { jwt, sessions, anonymous, closeCode, queryToken } = options;
  return {
    ...over(defaults.auth, { anonymous, closeCode, queryToken }),
    ...(jwt !== undefined && { jwt: withAlgorithms(jwt as JwtSettings) }),
    ...(sessions !== undefined && { sessions }),
  };
}

function withAlgorithms(jwt: JwtSettings): JwtSettings {
  const { secret, jwksUrl } = jwt;
  const usual = [
    ...(secret === undefined ? [] : defaultAlgorithms.secret),
    ...(jwksUrl === undefined ? [] : defaultAlgorithms.jwksUrl),
  ];
  return { ...jwt, algorithms: jwt.algorithms ?? usual };
}
