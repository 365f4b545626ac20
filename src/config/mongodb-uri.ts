import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { MongoClient } from "mongodb";

const defaultDatabase = "tailgate";
/** Names no set: drivers then ask the server and follow the whole set, whatever its name. */
const fallbackUri = `mongodb://127.0.0.1:27117/${defaultDatabase}`;

const secretParameter = /password|authMechanismProperties|proxyUsername/i;

interface UriParts {
  readonly scheme: string;
  readonly credentials: string;
  readonly hosts: string;
  readonly database: string;
  readonly query: string;
}

/**
 * The database that `make replica` starts: its URI as that left it in `state.json`, or where it listens unless told
 * otherwise.
 *
 * @param workingDirectory - the project's root; the state is in its `.replica`
 * @param replicaDirectory - where the state is instead; `make replica` takes it from `REPLICA_DIR`
 */
export function defaultMongodbUri(workingDirectory: string, replicaDirectory = ".replica"): string {
  try {
    const state: unknown = JSON.parse(readFileSync(resolve(workingDirectory, replicaDirectory, "state.json"), "utf8"));
    const uri = typeof state === "object" && state !== null && "uri" in state ? state.uri : undefined;
    if (typeof uri === "string") {
      const named = withDatabase(uri);
      if (mongodbUriProblem(named) === undefined) return named;
    }
  } catch {
    // No replica set was started here, or its note is unreadable: the usual address is then the best guess there is.
  }
  return fallbackUri;
}

/**
 * @param uri - what was configured
 * @returns what is wrong with it and what would be right, without any part of the URI that may be secret
 */
export function mongodbUriProblem(uri: string): string | undefined {
  const example = "such as mongodb://127.0.0.1:27017/shop";
  const parts = splitUri(uri);
  if (!/^mongodb(\+srv)?:\/\//.test(uri) || parts === undefined) {
    return `must be a mongodb:// or mongodb+srv:// URI, ${example}`;
  }
  if (parts.hosts.includes("@")) {
    return "user and password must be percent-encoded where they hold @ : / ? # [ ] or %";
  }
  if (parts.hosts === "") return `must name a host, ${example}`;
  if (parts.database === "") return `must name the database in its path, ${example}`;
  return driverProblem(uri, parts);
}

/** @returns the URI without user, password and whatever else in it is secret */
export function redactUri(uri: string): string {
  const parts = splitUri(uri);
  if (parts === undefined) return "[redacted]";
  const query = parts.query
    .split("&")
    .map((pair) => (secretParameter.test(pair.split("=")[0] ?? "") ? `${pair.split("=")[0]}=[redacted]` : pair))
    .join("&");
  return `${parts.scheme}${parts.credentials === "" ? "" : "[redacted]@"}${parts.hosts}/${parts.database}${query === "" ? "" : `?${query}`}`;
}

function splitUri(uri: string): UriParts | undefined {
  const match = /^([a-z+]+:\/\/)(?:([^@/?]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(uri);
  if (match === null) return undefined;
  const [, scheme = "", credentials = "", hosts = "", database = "", query = ""] = match;
  return { scheme, credentials, hosts, database, query };
}

function withDatabase(uri: string): string {
  const parts = splitUri(uri);
  if (parts === undefined || parts.database !== "") return uri;
  const credentials = parts.credentials === "" ? "" : `${parts.credentials}@`;
  return `${parts.scheme}${credentials}${parts.hosts}/${defaultDatabase}${parts.query === "" ? "" : `?${parts.query}`}`;
}

/**
 * Asks the driver, which knows all options. Making a client connects to nothing. Its message is passed on only where it
 * repeats no value of the URI, any of which may be secret.
 */
function driverProblem(uri: string, parts: UriParts): string | undefined {
  try {
    new MongoClient(uri).db();
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const values = [
      ...parts.credentials.split(":"),
      ...parts.query.split("&").map((pair) => pair.slice(pair.indexOf("=") + 1)),
    ];
    const repeats = values.some(
      (value) => value.length > 2 && (message.includes(value) || message.includes(decode(value))),
    );
    return repeats ? "the driver refuses the value of one of its options" : `the driver refuses it: ${message}`;
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Malformed escapes are what the driver complains about; there is nothing else to compare then.
    return text;
  }
}
