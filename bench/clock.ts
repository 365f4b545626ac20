/**
 * Microseconds on the monotonic clock of the machine. All processes of one machine read the same clock, so that a time
 * taken by the writer can be compared with one taken by a reader.
 */
export function monotonicMicroseconds(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + nanoseconds / 1e3;
}
