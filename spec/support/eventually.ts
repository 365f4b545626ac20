import { setTimeout as sleep } from "node:timers/promises";

/** Asks until the condition holds, where nothing says when it does. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  timeoutMilliseconds = 20_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMilliseconds;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not in ${timeoutMilliseconds} ms: ${condition}`);
    await sleep(20);
  }
}

/** @returns the value of the first series that begins with `series`, or NaN where there is none. */
export async function metricOf(url: string, series: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(series));
  return Number(line?.split(" ").at(-1) ?? Number.NaN);
}
