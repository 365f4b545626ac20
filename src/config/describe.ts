import { redact } from "../log.js";
import { redactUri } from "./mongodb-uri.js";
import type { Settings } from "./settings.js";

/**
 * @param settings - the whole configuration
 * @returns a plain object of it for logs and reports: no secret is in it, and a function is named as one
 */
export function describeSettings(settings: Settings): Record<string, unknown> {
  const { mongodbUri, interfaces, auth, taskDefinitions, ...rest } = settings;
  const { jwt, sessions, ...plainAuth } = auth;
  return {
    ...rest,
    mongodbUri: redactUri(mongodbUri),
    interfaces: Object.fromEntries([...interfaces].map(([name, settings]) => [name, withoutFunctions(settings)])),
    auth: {
      ...plainAuth,
      ...(sessions !== undefined && { sessions: "[function]" }),
      ...(jwt !== undefined && { jwt: describeJwt(jwt) }),
    },
    taskDefinitions: taskDefinitions.map(({ name }) => name),
  };
}

function describeJwt(jwt: NonNullable<Settings["auth"]["jwt"]>): Record<string, unknown> {
  return {
    ...jwt,
    ...(jwt.secret !== undefined && { secret: "[redacted]" }),
    // Some providers put a key into the address; what comes after the path is left out whole.
    ...(jwt.jwksUrl !== undefined && { jwksUrl: redact(jwt.jwksUrl.replace(/[?#].*$/s, "?[redacted]")) }),
  };
}

function withoutFunctions(value: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, typeof item === "function" ? "[function]" : item]),
  );
}
