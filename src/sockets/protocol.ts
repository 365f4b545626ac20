import { z } from "zod";
import { RequestError } from "../errors.js";
import { formats, operations, type ResetReason } from "../message.js";

const id = z.union([z.string().min(1).max(128), z.number()]).describe("the client's own name of a subscription");
const position = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .describe("a place in the database's history; of two, the one that is greater as text is later");
const view = z.string().min(1).describe("the same for all who subscribe to the same and may see the same");
const representation = z.looseObject({ id: z.unknown() }).describe("the part of a document that clients see");

/** What a client may send on a connection with the subprotocol `tailgate.v1`. */
export const clientMessage = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("authenticate"), token: z.string().min(1) }),
  z.strictObject({
    type: z.literal("subscribe"),
    id,
    interface: z.string().min(1).max(128),
    filter: z.unknown().optional().describe("MongoDB's, in JSON or Extended JSON"),
    fields: z.array(z.string().min(1).max(256)).min(1).max(100).optional(),
    since: z.string().max(256).optional().describe("the position that the client holds"),
    view: z.string().max(256).optional().describe("the view that `since` belongs to"),
    format: z.enum(formats).optional().describe("ejson: data as canonical Extended JSON; by default json"),
    snapshot: z.boolean().optional().describe("false: no rows, only changes from now on"),
  }),
  z.strictObject({ type: z.literal("unsubscribe"), id }),
  z.strictObject({ type: z.literal("ping") }),
]);

export type ClientMessage = z.output<typeof clientMessage>;
export type SubscribeMessage = Extract<ClientMessage, { type: "subscribe" }>;
export type SubscriptionId = SubscribeMessage["id"];

const resetReasons = [
  "history-lost",
  "dropped",
  "renamed",
  "rule-changed",
  "too-far-behind",
  "membership-unknown",
  "unknown-position",
] as const satisfies readonly ResetReason[];

const limits = z.strictObject({
  payloadKilobytes: z.number(),
  subscriptionsPerConnection: z.number(),
  connectionsPerUser: z.number(),
  messagesPerMinute: z.number(),
  bufferedMegabytes: z.number(),
  idleSeconds: z.number(),
});

/** What the gateway sends on such a connection, but for changes. */
const typedMessage = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("welcome"), user: z.strictObject({ sub: z.string() }).nullable(), limits }),
  z.strictObject({
    type: z.literal("snapshot"),
    id,
    interface: z.string(),
    data: z.array(representation),
    last: z.boolean(),
  }),
  z.strictObject({ type: z.literal("ready"), id, view, position, recovered: z.boolean() }),
  z.strictObject({ type: z.literal("reset"), id, view, reason: z.enum(resetReasons) }),
  z.strictObject({ type: z.literal("progress"), position }),
  z.strictObject({ type: z.literal("pong"), position }),
  z.strictObject({ type: z.literal("unsubscribed"), id }),
  z.strictObject({
    type: z.literal("error"),
    id: id.nullable(),
    status: z.int(),
    code: z.string(),
    title: z.string(),
    detail: z.string(),
  }),
]);

const told = { interface: z.string(), operation: z.enum(operations).exclude(["delete"]), data: representation };
const removed = { ...told, operation: z.literal("delete"), data: z.array(z.unknown()).describe("removed ids") };
const place = { view, position, previous: position.describe("where the view's message before this one stood") };

/** What a plain connection is sent. */
export const plainMessage = z.union([z.strictObject(told), z.strictObject(removed)]);
/** A change as a subscription gets it. */
export const changeMessage = z.union([z.strictObject({ ...told, ...place }), z.strictObject({ ...removed, ...place })]);
/** All that a connection with the subprotocol `tailgate.v1` is sent. Texts are put together by hand; specs compare them. */
export const serverMessage = z.union([typedMessage, changeMessage]);

/** Every message by its `type`, for the description of the protocol. */
export const clientMessages = byType(clientMessage.options);
export const typedMessages = byType(typedMessage.options);

/**
 * @param text - a message as it came
 * @throws RequestError 400 `bad-message`, saying what would be right; `extensions.id` is its id where it has one
 */
export function parseMessage(text: string): ClientMessage {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new RequestError(400, "bad-message", "a message is a JSON object", {}, { cause: error });
  }
  const parsed = clientMessage.safeParse(raw);
  if (parsed.success) return parsed.data;
  const about = (raw as { id?: unknown } | null)?.id;
  const known = id.safeParse(about);
  const problems = parsed.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join(".")}: ${message}`,
  );
  throw new RequestError(400, "bad-message", problems.join("; "), known.success ? { id: known.data } : {});
}

/** Texts that are shared; when there are more, they are forgotten, and from then on others are shared. */
const mostSharedTexts = 1_000;
const sharedTexts = new Map<string, string>();

/**
 * What a subscription keeps of the message that asked for it: a text is small beside what it says once parsed, and the many
 * clients of one application, which ask for the same, share it.
 *
 * @returns the message as text, without where the client stood
 */
export function textOf({ since, view, ...asked }: SubscribeMessage): string {
  const text = JSON.stringify(asked);
  const shared = sharedTexts.get(text);
  if (shared !== undefined) return shared;
  if (sharedTexts.size >= mostSharedTexts) sharedTexts.clear();
  sharedTexts.set(text, text);
  return text;
}

/** @returns the text of an error message; `id` is null where the error is about no subscription. */
export function errorMessage(id: SubscriptionId | null, error: RequestError, title: string): string {
  const { status, code, message } = error;
  return JSON.stringify({ type: "error", id, status, code, title, detail: message });
}

function byType(options: readonly z.ZodObject<{ type: z.ZodLiteral<string> }>[]): ReadonlyMap<string, z.ZodType> {
  return new Map(options.map((option) => [option.shape.type.value, option]));
}
