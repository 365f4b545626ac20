import { z } from "zod";
import { RequestError } from "../errors.js";

const id = z.union([z.string().min(1).max(128), z.number()]);

/** What a client may send on a connection with the subprotocol `tailgate.v1`. */
export const clientMessage = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("authenticate"), token: z.string().min(1) }),
  z.strictObject({
    type: z.literal("subscribe"),
    id,
    interface: z.string().min(1).max(128),
    filter: z.unknown().optional(),
    fields: z.array(z.string().min(1).max(256)).min(1).max(100).optional(),
    since: z.string().max(256).optional(),
    view: z.string().max(256).optional(),
    snapshot: z.boolean().optional(),
  }),
  z.strictObject({ type: z.literal("unsubscribe"), id }),
  z.strictObject({ type: z.literal("ping") }),
]);

export type ClientMessage = z.output<typeof clientMessage>;
export type SubscribeMessage = Extract<ClientMessage, { type: "subscribe" }>;
export type SubscriptionId = SubscribeMessage["id"];

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

/** @returns the text of an error message; `id` is null where the error is about no subscription. */
export function errorMessage(id: SubscriptionId | null, error: RequestError, title: string): string {
  const { status, code, message } = error;
  return JSON.stringify({ type: "error", id, status, code, title, detail: message });
}
