import { setTimeout as sleep } from "node:timers/promises";
import type { Findings } from "./findings.js";
import type { GatewayProcess } from "./gateways.js";

/** What a gateway that has been at work may hold when everybody has left, beside its history, in megabytes. */
const mostMegabytes = 60;
/** What the newest events may take, by the default settings, with all that belongs to one in memory. */
const historyMegabytes = 2 * 64;
/** What is kept for those who come back is let go of after some seconds. */
const patienceMilliseconds = 20_000;

/** Every client has left: the gateways hold nothing of them any more. */
export async function checkLeftOver(gateways: readonly GatewayProcess[], findings: Findings): Promise<void> {
  for (const gateway of gateways) {
    const left = await heldBy(gateway);
    if (left !== undefined) findings.add("left over", gateway.name, left);
    const megabytes = await memoryOf(gateway);
    findings.tell(`${gateway.name} uses ${megabytes.toFixed()} MB`);
    if (megabytes > mostMegabytes + historyMegabytes)
      findings.add("left over", gateway.name, `${megabytes.toFixed()} MB in use`);
  }
}

async function heldBy(gateway: GatewayProcess): Promise<string | undefined> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    const held = /^tailgate_(connections|subscriptions|views)(\{.*\})? [1-9].*$/gm;
    const left = (await gateway.metrics()).match(held);
    if (left === null) return undefined;
    if (performance.now() > deadline) return left.join(", ");
    await sleep(50);
  }
}

/** Nearly always the first look is enough. */
async function memoryOf(gateway: GatewayProcess): Promise<number> {
  const deadline = performance.now() + patienceMilliseconds;
  for (;;) {
    const megabytes = await gateway.memoryInUse();
    if (megabytes <= mostMegabytes + historyMegabytes || performance.now() > deadline) return megabytes;
    await sleep(500);
  }
}
