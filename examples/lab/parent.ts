/** What a program of the lab tells the one that started it. */
export type ChildMessage = { readonly ready: string; readonly port?: number };

/** Tells the program that started this one; started by hand there is none, and nothing happens. */
export function tellParent(message: ChildMessage): void {
  process.send?.(message);
}

/** Calls `stop` when the program that started this one is gone, however it ended. */
export function stopWithParent(stop: () => void): void {
  process.on("disconnect", stop);
}
