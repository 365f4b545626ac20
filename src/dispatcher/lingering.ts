import type { View } from "./view.js";

/** How long a view is kept after its last connection, in milliseconds: a page that is loaded again finds it as it was. */
const lingerMilliseconds = 10_000;
const lookMilliseconds = 1_000;
/** Views that are kept so; each costs every change that it concerns as much as one that is followed. */
const mostLingering = 1_000;

/** Views that nobody follows any more, kept for a while for who comes back. */
export interface Lingering {
  add(view: View): void;
  /** It is followed again, or void. */
  delete(view: View): void;
  stop(): void;
}

/** @param end - called for each view whose time is over, and for the oldest where there are too many */
export function createLingering(end: (view: View) => void): Lingering {
  /** When each was left, on the monotonic clock in milliseconds; the oldest is first. */
  const leftAt = new Map<View, number>();

  function endThose(isOver: (left: number) => boolean): void {
    for (const [view, left] of leftAt) {
      if (!isOver(left)) return;
      leftAt.delete(view);
      end(view);
    }
  }

  /** Only while a view lingers: nothing is left of a dispatcher that was never started. */
  let timer: NodeJS.Timeout | undefined;
  function look(): void {
    const before = performance.now() - lingerMilliseconds;
    endThose((left) => left <= before);
    if (leftAt.size === 0) stop();
  }
  function stop(): void {
    clearInterval(timer);
    timer = undefined;
  }

  return {
    add(view) {
      if (view.isVoid) {
        end(view);
        return;
      }
      leftAt.delete(view);
      leftAt.set(view, performance.now());
      timer ??= setInterval(look, lookMilliseconds).unref();
      endThose(() => leftAt.size > mostLingering);
    },
    delete(view) {
      leftAt.delete(view);
    },
    stop,
  };
}
