import { type ApiPart, jsonAnswer, operation } from "./openapi.js";

/** Serves the description of the websocket's messages, which is made where they are. */
export function asyncApiPart(description: object): ApiPart {
  const text = JSON.stringify(description);
  return {
    paths: { "/asyncapi.json": { get: operation("The websocket's messages", { 200: jsonAnswer("AsyncAPI 3", {}) }) } },
    add(router) {
      router.get("/asyncapi.json", (context) => {
        context.type = "application/json";
        context.body = text;
      });
    },
  };
}
