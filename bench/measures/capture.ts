import type { Context, FloorCapture, Side, Turn, Writer } from "../context.js";
import { cpuSeconds } from "../processes.js";
import type { Outcome } from "../report.js";
import type { Written } from "../writer.js";
import { alternate } from "./alternate.js";

/** Two freezes of so many events each are counted, after one to warm up. */
const eventsPerFreeze = 15_000;
const freezes = 2;
const together = 500;
/** A freeze ends earlier where writing takes long, for the gateway takes a stream for dead that was silent for 6 s. */
const writeSeconds = 3.5;
const longestFreezeSeconds = 5;
const waitMilliseconds = 20_000;
/** A process that used next to no CPU so many times has taken in all there is. That is checked afterwards. */
const quietMilliseconds = 400;
const quietTimes = 6;
const quietShare = 0.05;
const limitMilliseconds = 60_000;

interface Notes {
  invalid: string[];
  doubts: string[];
}

/** CPU per change stream event with nobody connected, beside the driver's bare loop. */
export async function capture(context: Context): Promise<Outcome> {
  const notes: Notes = { invalid: [], doubts: [] };
  const figures = await alternate(context, "capture", (turn, side) => once(context, turn, side, notes));
  return {
    measurements: [
      { name: "capture", what: "CPU per event", unit: "µs", ...figures, comparison: "ratio", target: 1.3 },
    ],
    ...notes,
  };
}

async function once(context: Context, turn: Turn, side: Side, notes: Notes): Promise<number> {
  const writer = await turn.writer(context.operation);
  const isLoop = side === "floor" || context.selfCheck;
  const loop = isLoop ? await turn.floorCapture() : undefined;
  const server = loop === undefined ? await turn.server() : undefined;
  const pid = (loop ?? server)?.pid as number;
  const changes = Math.ceil(eventsPerFreeze * context.scale);

  let written = (await drain(context, writer, pid, changes)).events;
  let counted = 0;
  let cpu = 0;
  for (let freeze = 0; freeze < freezes; freeze++) {
    const drained = await drain(context, writer, pid, changes);
    cpu += drained.cpu;
    counted += drained.events;
    if (drained.frozenSeconds > longestFreezeSeconds) {
      notes.doubts.push(`capture, ${side}: it was frozen for ${drained.frozenSeconds.toFixed(1)} s`);
    }
  }
  written += counted;
  const perEvent = (cpu / counted) * 1e6;
  const left = loop === undefined ? undefined : await whatTheLoopMissed(loop, written);
  const leftByServer = server === undefined ? undefined : await whatWasLeft(context, turn, writer, server.port);
  for (const wrong of [left, leftByServer]) if (wrong !== undefined) notes.invalid.push(`capture, ${side}: ${wrong}`);
  context.progress(`capture: ${side} ${perEvent.toFixed(2)} µs`);
  return perEvent;
}

/**
 * Freezes the process, writes, and lets it go: so it finds all events there, in batches as large as it asked for, and
 * neither the writer's pace nor the database's has a part in the figure.
 */
async function drain(
  context: Context,
  writer: Writer,
  pid: number,
  changes: number,
): Promise<{ cpu: number; events: number; frozenSeconds: number }> {
  const before = cpuSeconds(pid);
  process.kill(pid, "SIGSTOP");
  let written: Written;
  try {
    const { operation } = context;
    written = await writer.call("write", { operation, changes, together, limitSeconds: writeSeconds });
  } finally {
    process.kill(pid, "SIGCONT");
  }
  return { cpu: (await cpuWhenQuiet(pid)) - before, events: written.changes, frozenSeconds: written.seconds };
}

/** @returns the CPU time at the beginning of the quiet: what an idle process uses while it is watched is not in it */
async function cpuWhenQuiet(pid: number): Promise<number> {
  const deadline = performance.now() + limitMilliseconds;
  let before = cpuSeconds(pid);
  let atFirstQuiet = before;
  for (let quiet = 0; quiet < quietTimes; ) {
    await new Promise((resolve) => setTimeout(resolve, quietMilliseconds));
    const now = cpuSeconds(pid);
    quiet = now - before < (quietMilliseconds / 1000) * quietShare ? quiet + 1 : 0;
    if (quiet <= 1) atFirstQuiet = now;
    if (performance.now() > deadline) throw new Error(`process ${pid} was still busy after ${limitMilliseconds} ms`);
    before = now;
  }
  return atFirstQuiet;
}

/** @returns what is wrong, or undefined when the loop has counted every event */
async function whatTheLoopMissed(loop: FloorCapture, written: number): Promise<string | undefined> {
  const seen = await loop.call("events", undefined);
  if (seen === written) return undefined;
  const deadline = performance.now() + waitMilliseconds;
  for (let now = seen; performance.now() < deadline; now = await loop.call("events", undefined)) {
    if (now === written) return `${written - seen} events came only after it had seemed to be done`;
    await new Promise((resolve) => setTimeout(resolve, quietMilliseconds));
  }
  return `${written - seen} of ${written} events did not come`;
}

/**
 * The gateway does not say how many events it took in. But changes arrive in order: when a client connects and one more
 * change is written, that one is all it gets if those before it had been handled.
 *
 * @returns what is wrong, or undefined
 */
async function whatWasLeft(context: Context, turn: Turn, writer: Writer, port: number): Promise<string | undefined> {
  const load = await turn.load({ port, connections: 1 });
  await writer.call("write", { operation: context.operation, changes: 1, together: 1 });
  await load.call("waitFor", { messages: 1, stallMilliseconds: waitMilliseconds });
  await new Promise((resolve) => setTimeout(resolve, quietMilliseconds));
  const { messages } = await load.call("counts", undefined);
  if (messages === 0) return "afterwards, a new connection did not get a new change";
  return messages === 1 ? undefined : `${messages - 1} events came only after it had seemed to be done`;
}
