import { z } from "zod";
import { subprotocol, websocketPath } from "../message.js";
import { version } from "../version.js";
import { changeMessage, clientMessages, plainMessage, typedMessages } from "./protocol.js";

/** What a client's message is answered by, where one message answers it. */
const replies: Readonly<Record<string, string>> = {
  authenticate: "welcome",
  unsubscribe: "unsubscribed",
  ping: "pong",
};

/** @returns the description of the websocket's messages as AsyncAPI 3, made from the schemas that validate. */
export function asyncApi(): object {
  const fromClient = [...clientMessages.keys()];
  const fromGateway = [...typedMessages.keys(), "change"];
  return {
    asyncapi: "3.0.0",
    info: {
      title: "Tailgate",
      version,
      description: "The messages of the websocket. PROTOCOL.md says what they mean and what is promised about them.",
    },
    defaultContentType: "application/json",
    channels: {
      plain: {
        address: websocketPath,
        description: "Without a subprotocol: every change that the connection may read.",
        messages: references(["plainChange"], "#/components/messages"),
        bindings: { ws: { method: "GET", query: query(["interfaces", "format", "token"]), bindingVersion: "0.1.0" } },
      },
      subscriptions: {
        address: websocketPath,
        description: `With the subprotocol ${subprotocol}: what the connection subscribes to.`,
        messages: references([...fromClient, ...fromGateway], "#/components/messages"),
        bindings: {
          ws: { method: "GET", headers: subprotocolHeader, query: query(["token"]), bindingVersion: "0.1.0" },
        },
      },
    },
    operations: {
      sendPlainChange: operation("send", "plain", ["plainChange"]),
      ...Object.fromEntries(fromGateway.map((name) => [`send-${name}`, operation("send", "subscriptions", [name])])),
      ...Object.fromEntries(
        fromClient.map((name) => [`receive-${name}`, operation("receive", "subscriptions", [name], replies[name])]),
      ),
    },
    components: {
      messages: {
        plainChange: message("plainChange", plainMessage),
        change: message("change", changeMessage),
        ...Object.fromEntries(
          [...clientMessages, ...typedMessages].map(([name, schema]) => [name, message(name, schema)]),
        ),
      },
    },
  };
}

const subprotocolHeader = {
  type: "object",
  properties: { "Sec-WebSocket-Protocol": { const: subprotocol } },
  required: ["Sec-WebSocket-Protocol"],
};

function query(names: readonly string[]): object {
  return { type: "object", properties: Object.fromEntries(names.map((name) => [name, { type: "string" }])) };
}

function operation(action: "send" | "receive", channel: string, names: readonly string[], reply?: string): object {
  const messagesOf = (each: readonly string[]): object[] =>
    Object.values(references(each, `#/channels/${channel}/messages`));
  const answer = reply === undefined ? {} : { reply: { messages: messagesOf([reply]) } };
  return { action, channel: { $ref: `#/channels/${channel}` }, messages: messagesOf(names), ...answer };
}

function references(names: readonly string[], under: string): Record<string, { $ref: string }> {
  return Object.fromEntries(names.map((name) => [name, { $ref: `${under}/${name}` }]));
}

/** A payload without a `schemaFormat` is of AsyncAPI's own dialect, which is draft 7 of JSON Schema with additions. */
function message(name: string, schema: z.ZodType): object {
  const { $schema: _, ...payload } = z.toJSONSchema(schema, { target: "draft-7", io: "input" }) as { $schema?: string };
  return { name, payload };
}
