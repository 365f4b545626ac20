import { expect } from "chai";
import { z } from "zod";
import { asyncApi } from "../../src/sockets/asyncapi.js";
import { clientMessages, typedMessages } from "../../src/sockets/protocol.js";
import { type ProtocolRig, startRig } from "./support.js";

interface Description {
  asyncapi: string;
  channels: Record<string, { address: string; messages: Record<string, { $ref: string }> }>;
  operations: Record<string, { action: string; channel: { $ref: string }; messages: { $ref: string }[] }>;
  components: { messages: Record<string, { payload: Parameters<typeof z.fromJSONSchema>[0] }> };
}

describe("the description of the websocket's messages", () => {
  const description = asyncApi() as Description;
  let rig: ProtocolRig;
  before(async () => {
    rig = await startRig();
  });
  afterEach(() => rig.closeClients());
  after(() => rig.dispose());
  const schemaOf = (name: string): z.ZodType =>
    z.fromJSONSchema(description.components.messages[name]?.payload ?? false);

  it("is served as it is, and listed in the description of the API", async () => {
    const response = await fetch(`${rig.gateway.url}/asyncapi.json`);
    expect(response.headers.get("content-type")).to.match(/^application\/json/);
    expect(await response.json()).to.deep.equal(JSON.parse(JSON.stringify(description)));
    const { paths } = (await (await fetch(`${rig.gateway.url}/openapi.json`)).json()) as { paths: object };
    expect(paths).to.have.property("/asyncapi.json");
  });

  it("has every message, each in an operation, and references nothing that is not there", () => {
    expect(description.asyncapi).to.equal("3.0.0");
    const names = ["plainChange", "change", ...clientMessages.keys(), ...typedMessages.keys()];
    expect(Object.keys(description.components.messages).sort()).to.deep.equal(names.sort());
    const used = Object.values(description.operations).flatMap(({ messages }) => messages.map(({ $ref }) => $ref));
    expect(used.map((reference) => reference.split("/").at(-1)).sort()).to.deep.equal(names.sort());
    const references = [...JSON.stringify(description).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(
      (match) => match[1] ?? "",
    );
    expect(references.length).to.be.greaterThan(30);
    for (const reference of references) {
      let found: unknown = description;
      for (const part of reference.split("/")) found = (found as Record<string, unknown> | undefined)?.[part];
      expect(found, reference).to.be.an("object");
    }
  });

  it("is right about what is sent, and about what is taken", async () => {
    const client = await rig.live();
    const plain = await rig.plain();
    const asked: [message: Record<string, unknown>, good: boolean][] = [
      [{ type: "subscribe", id: 1, interface: "items", filter: { n: 1 }, fields: ["n"], since: "x", view: "y" }, true],
      [{ type: "subscribe", id: 2, interface: "items", fields: [] }, false],
      [{ type: "subscribe", id: 2, interface: "items", snapshot: "no" }, false],
      [{ type: "unsubscribe", id: "none" }, true],
      [{ type: "ping", id: 3 }, false],
      [{ type: "ping" }, true],
    ];
    for (const [message, good] of asked) {
      expect(schemaOf(String(message.type)).safeParse(message).success, JSON.stringify(message)).to.equal(good);
      client.send(message);
    }
    await client.until(({ type }) => type === "ready");
    const refused = client.received.filter(({ code }) => code === "bad-message").length;
    expect(refused).to.equal(asked.filter(([, good]) => !good).length);
    await rig.items().insertOne({ _id: 1, group: "a", n: 1 });
    await rig.items().deleteOne({ _id: 1 });
    await client.until(({ operation }) => operation === "delete");
    await plain.take(2);
    const types = new Set(client.received.map(({ type }) => type ?? "change"));
    expect([...types].sort()).to.deep.equal(["change", "error", "pong", "ready", "reset", "snapshot", "welcome"]);
    for (const message of client.received) {
      const { error } = schemaOf(String(message.type ?? "change")).safeParse(message);
      expect(error?.issues, JSON.stringify(message)).to.equal(undefined);
    }
    for (const message of plain.received) expect(schemaOf("plainChange").safeParse(message).success).to.equal(true);
  });
});
