/** What a listener throws is its own page's error: nobody else misses anything for it. */
export function call<Update>(listener: (update: Update) => void, update: Update): void {
  try {
    listener(update);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
