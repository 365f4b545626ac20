import type { Document } from "mongodb";
import { z } from "zod";
import { type LogLevel, logLevels } from "../log.js";
import { mongodbUriProblem } from "./mongodb-uri.js";
import { collectionNameProblem, fieldPathProblem, hostProblem, jwksUrlProblem, originProblem } from "./names.js";
import { ruleProblems } from "./rule.js";
import type { NamedTask, Rule, SessionLookup } from "./settings.js";

/*
 * The shape of a configuration. Messages say what would be right; what was written instead is added where it is shown
 * (see validate.ts), so that no message here can carry a secret.
 */

const hmacAlgorithms = ["HS256", "HS384", "HS512"];
const keyPairAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

/** Close codes that mean something else to a client: see PROTOCOL.md. */
const takenCloseCodes = new Set([4400, 4403, 4406, 4408, 4413, 4429, 4500, 4508, 4510]);

const graceMessage = "must be a number from 0 to 3600";
const flag = z.boolean("must be true or false");

function text(problem: (value: string) => string | undefined) {
  return z.string("must be text").superRefine((value, context) => {
    const message = value === "" ? "can't be empty" : problem(value);
    if (message !== undefined) context.addIssue({ code: "custom", message });
  });
}

const anyText = text(() => undefined);

function whole(least: number, most: number) {
  const message = `must be a whole number from ${least} to ${most}`;
  return z.int(message).min(least, message).max(most, message);
}

/** An amount with a unit, of which fractions make sense. */
function amount(most: number) {
  const message = `must be a number above 0, ${most} at most`;
  return z.number(message).positive(message).max(most, message);
}

function list<Item extends z.ZodType>(item: Item) {
  return z.array(item, "must be a list");
}

function strict<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, "must be a group of keys");
}

function code<Callable extends (...values: never[]) => unknown>(what: string) {
  return z.custom<Callable>(
    (value) => typeof value === "function",
    `must be a function (${what}): it can only come from a module or from embedding code`,
  );
}

const port = whole(0, 65_535);
const paths = list(text(fieldPathProblem));

const rule = z.custom<Rule>().superRefine((value, context) => {
  for (const { path, message } of ruleProblems(value)) {
    context.addIssue({ code: "custom", path: [...path], message });
  }
});
const interfaceOptions = strict({
  collection: text(collectionNameProblem).optional(),
  fields: paths.optional(),
  representation: code<(document: Document) => Document>("document => representation").optional(),
  read: rule.optional(),
  write: rule.optional(),
  filterable: paths.optional(),
}).superRefine((settings, context) => {
  if (settings.fields !== undefined && settings.representation !== undefined) {
    context.addIssue({
      code: "custom",
      message: "give `fields` or `representation`, not both: each says all of what clients see",
    });
  }
  if (settings.collection === "tasks" && settings.write !== undefined && settings.write !== false) {
    context.addIssue({
      code: "custom",
      path: ["write"],
      message: "a document in the collection `tasks` starts a task, past its `allow`; leave `write` out",
    });
  }
});

const jwt = strict({
  // A short one is accepted, and the log and `doctor` warn of it: see secret.ts.
  secret: anyText.optional(),
  jwksUrl: text(jwksUrlProblem).optional(),
  issuer: anyText.optional(),
  audience: z.union([anyText, list(anyText).min(1)], "must be text or a list of texts").optional(),
  algorithms: list(
    z.enum(
      [...hmacAlgorithms, ...keyPairAlgorithms],
      `must be one of ${[...hmacAlgorithms, ...keyPairAlgorithms].join(", ")}`,
    ),
  )
    .min(1, "must name at least one; leave the key out for the default")
    .optional(),
}).superRefine(({ secret, jwksUrl, algorithms = [] }, context) => {
  const refuse = (key: string, message: string): void => context.addIssue({ code: "custom", path: [key], message });
  if (secret === undefined && jwksUrl === undefined) {
    context.addIssue({ code: "custom", message: "must have a `secret` or a `jwksUrl`, or no token could be checked" });
    return;
  }
  for (const algorithm of algorithms) {
    if (!isHmac(algorithm)) {
      if (jwksUrl === undefined) refuse("algorithms", `${algorithm} needs a \`jwksUrl\`, where the public keys are`);
    } else if (secret === undefined) {
      refuse("algorithms", `${algorithm} needs a \`secret\``);
    }
  }
});

function isHmac(algorithm: string): boolean {
  return hmacAlgorithms.includes(algorithm);
}

const task = z.custom<NamedTask>(
  (value) =>
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    typeof value.name === "string" &&
    value.name !== "",
  "must be what defineTask returns: tasks can only come from a module or from embedding code",
);

/** The schema of a configuration file and of `createGateway(options)`, with `tasks` in its long form. */
export const optionsSchema = strict({
  mongo: text(mongodbUriProblem).optional(),
  host: text(hostProblem).optional(),
  port: port.optional(),
  logLevel: z.enum(logLevels, `must be one of ${logLevels.join(", ")}`).optional() as z.ZodOptional<
    z.ZodType<LogLevel>
  >,
  interfaces: z.record(z.string(), interfaceOptions, "must be a group of interfaces, each under its name").optional(),
  auth: strict({
    anonymous: flag.optional(),
    jwt: jwt.optional(),
    closeCode: whole(4000, 4999)
      .refine(
        (value) => !takenCloseCodes.has(value),
        "has another meaning to clients (see PROTOCOL.md); take 4401, or another from 4000 to 4999",
      )
      .optional(),
    queryToken: flag.optional(),
    sessions: code<SessionLookup>("request => user or null").optional(),
  }).optional(),
  allowedOrigins: list(text(originProblem)).optional(),
  history: strict({
    events: whole(0, 100_000_000).optional(),
    megabytes: amount(65_536).optional(),
    replayLimit: whole(0, 100_000_000).optional(),
  }).optional(),
  snapshots: strict({
    readConcern: z.enum(["auto", "snapshot", "majority"], "must be auto, snapshot or majority").optional(),
  }).optional(),
  limits: strict({
    payloadKilobytes: amount(16_384).optional(),
    subscriptionsPerConnection: whole(1, 100_000).optional(),
    connectionsPerUser: whole(1, 1_000_000).optional(),
    messagesPerMinute: whole(1, 10_000_000).optional(),
    bufferedMegabytes: amount(512).optional(),
    idleSeconds: whole(8, 960).optional(),
  }).optional(),
  tasks: strict({
    concurrency: whole(1, 1000).optional(),
    queue: whole(1, 10_000_000).optional(),
    timeoutSeconds: amount(604_800).optional(),
    definitions: list(task).optional(),
  }).optional(),
  http: strict({
    userAgent: text((value) =>
      /^[\x20-\x7e]+$/.test(value) ? undefined : "must be printable ASCII, for it is a header",
    ).optional(),
    timeoutSeconds: amount(3600).optional(),
    totalTimeoutSeconds: amount(3600).optional(),
    retries: whole(0, 20).optional(),
  }).optional(),
  executors: strict({
    threads: whole(1, 256).optional(),
    processes: whole(1, 256).optional(),
    queue: whole(0, 1_000_000).optional(),
  }).optional(),
  metrics: strict({ public: flag.optional() }).optional(),
  api: strict({ port: whole(1, 65_535).optional() }).optional(),
  shutdown: strict({
    graceSeconds: z.number(graceMessage).min(0, graceMessage).max(3600, graceMessage).optional(),
  }).optional(),
});

export type CheckedOptions = z.output<typeof optionsSchema>;

/**
 * @param schema - the whole schema
 * @param path - where in it
 * @returns the keys that are known there
 */
export function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let inner: unknown = schema;
  while (inner instanceof z.ZodOptional) inner = inner.unwrap();
  const [step, ...rest] = path;
  if (inner instanceof z.ZodRecord && step !== undefined) return knownKeys(inner.valueType as z.ZodType, rest);
  if (!(inner instanceof z.ZodObject)) return [];
  if (step === undefined) return Object.keys(inner.shape);
  const next: unknown = inner.shape[String(step)];
  return next instanceof z.ZodType ? knownKeys(next, rest) : [];
}
