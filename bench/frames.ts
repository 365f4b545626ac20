/** What to do with the few payloads that a counter does not merely skip. */
export interface FrameHandlers {
  /** A ping came; the bytes are to be sent back in a pong. */
  ping?: (payload: Uint8Array) => void;
  /** A pong came: the answer to a ping that was sent. */
  pong?: () => void;
  /** The server closed; 1005 when it gave no code. */
  close?: (code: number) => void;
  /** Makes the counter collect every data message, which costs copies: for the few connections that read. */
  message?: (payload: Uint8Array) => void;
}

const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
const known: ReadonlySet<number> = new Set(Object.values(opcodes));
const noBytes = new Uint8Array(0);

/**
 * Counts the messages in one websocket connection's bytes (RFC 6455, section 5.2) from the frame headers alone: payloads
 * are stepped over, neither copied nor decoded. Bytes may be cut anywhere, also inside a header.
 */
export class FrameCounter {
  /** Data messages that came completely; one that is spread over several frames counts once. */
  messages = 0;
  /** Complete data messages shorter than `smallBelowBytes`; they are not in `messages`. */
  small = 0;
  /** Payload bytes of `messages` and `small`. */
  payloadBytes = 0;

  readonly #handlers: FrameHandlers;
  readonly #smallBelowBytes: number;
  /** The longest header has 2 bytes, 8 of length and 4 of mask. */
  readonly #header = new Uint8Array(14);
  #headerHave = 0;
  #headerNeed = 2;
  #inPayload = false;
  #payloadLeft = 0;
  #opcode = 0;
  #isFinal = false;
  /** Payload bytes of the data message under way, over all its frames. */
  #messageBytes = 0;
  #collecting = false;
  /** A control frame may come between the frames of a message, so the two are collected apart. */
  #messageParts: Uint8Array[] = [];
  #controlParts: Uint8Array[] = [];

  /**
   * @param options.smallBelowBytes - data messages with fewer payload bytes are counted in `small`: the protocol's own
   *   notices, such as `progress`, beside changes that are known to be larger
   */
  constructor(handlers: FrameHandlers = {}, options: { smallBelowBytes?: number } = {}) {
    this.#handlers = handlers;
    this.#smallBelowBytes = options.smallBelowBytes ?? 0;
  }

  /** Sets the counts back to zero without losing the place in the stream. */
  reset(): void {
    this.messages = 0;
    this.small = 0;
    this.payloadBytes = 0;
  }

  /**
   * @param chunk - read from the socket; not kept, so that the caller may read into the same memory again
   * @param end - how many of its bytes count
   * @param start - where they begin
   * @throws Error when the bytes are not what a server may send
   */
  feed(chunk: Uint8Array, end: number = chunk.length, start = 0): void {
    let at = start;
    while (at < end) {
      if (this.#inPayload) {
        const taken = Math.min(this.#payloadLeft, end - at);
        // Not `slice`, which in a Buffer shares the memory.
        if (this.#collecting) this.#parts().push(new Uint8Array(chunk.subarray(at, at + taken)));
        at += taken;
        this.#payloadLeft -= taken;
        if (this.#payloadLeft === 0) this.#endFrame();
        continue;
      }
      this.#header[this.#headerHave++] = chunk[at++] as number;
      if (this.#headerHave < this.#headerNeed) continue;
      if (this.#headerHave === 2) {
        this.#headerNeed = headerLength(this.#header);
        if (this.#headerNeed > 2) continue;
      }
      this.#beginPayload();
    }
  }

  #beginPayload(): void {
    const first = this.#header[0] as number;
    this.#opcode = first & 0x0f;
    this.#isFinal = (first & 0x80) !== 0;
    const length = payloadLength(this.#header);
    this.#headerHave = 0;
    this.#headerNeed = 2;
    if ((first & 0x70) !== 0) throw new Error("a frame with reserved bits came, though no extension was agreed on");
    if (!known.has(this.#opcode)) throw new Error(`a frame with the unknown opcode ${this.#opcode} came`);
    const isControl = this.#opcode >= opcodes.close;
    if (isControl && (length > 125 || !this.#isFinal)) throw new Error("a control frame came that is too long or cut");
    this.#collecting = isControl ? this.#opcode !== opcodes.pong : this.#handlers.message !== undefined;
    if (!isControl) this.#messageBytes += length;
    this.#payloadLeft = length;
    if (length === 0) this.#endFrame();
    else this.#inPayload = true;
  }

  #endFrame(): void {
    this.#inPayload = false;
    if (this.#opcode >= opcodes.close) this.#endControl();
    else if (this.#isFinal) this.#endMessage();
  }

  #endControl(): void {
    const payload = joined(this.#controlParts);
    this.#controlParts = [];
    if (this.#opcode === opcodes.ping) this.#handlers.ping?.(payload);
    if (this.#opcode === opcodes.pong) this.#handlers.pong?.();
    if (this.#opcode === opcodes.close) {
      this.#handlers.close?.(payload.length < 2 ? 1005 : (payload[0] as number) * 256 + (payload[1] as number));
    }
  }

  #endMessage(): void {
    const bytes = this.#messageBytes;
    this.#messageBytes = 0;
    this.payloadBytes += bytes;
    if (bytes < this.#smallBelowBytes) this.small += 1;
    else this.messages += 1;
    if (this.#handlers.message === undefined) return;
    const payload = joined(this.#messageParts);
    this.#messageParts = [];
    this.#handlers.message(payload);
  }

  #parts(): Uint8Array[] {
    return this.#opcode >= opcodes.close ? this.#controlParts : this.#messageParts;
  }
}

/** @param header - its first two bytes @returns how long the whole header is */
function headerLength(header: Uint8Array): number {
  const second = header[1] as number;
  // A server does not mask, and must not. To count one that does, the mask need only be stepped over.
  const mask = (second & 0x80) === 0 ? 0 : 4;
  const short = second & 0x7f;
  return 2 + mask + (short === 127 ? 8 : short === 126 ? 2 : 0);
}

function payloadLength(header: Uint8Array): number {
  const short = (header[1] as number) & 0x7f;
  if (short < 126) return short;
  const view = new DataView(header.buffer);
  if (short === 126) return view.getUint16(2);
  const length = view.getUint32(2) * 2 ** 32 + view.getUint32(6);
  if (!Number.isSafeInteger(length)) throw new Error("a frame came that is longer than any memory");
  return length;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length === 0) return noBytes;
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}
