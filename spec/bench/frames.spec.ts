import { expect } from "chai";
import { FrameCounter } from "../../bench/frames.js";

interface Seen {
  messages: string[];
  pings: string[];
  closes: number[];
}

const text = 1;
const continuation = 0;
const close = 8;
const ping = 9;
const pong = 10;

describe("The frame counter of the benchmarks", () => {
  const lengths = [0, 1, 125, 126, 127, 330, 65_535, 65_536, 70_000];
  const inOrder = Buffer.concat(lengths.map((length) => frame(text, Buffer.alloc(length, 0x61))));

  it("counts messages and bytes of every length encoding in one piece", () => {
    const counter = new FrameCounter();
    counter.feed(inOrder);
    expect(counter.messages).to.equal(lengths.length);
    expect(counter.payloadBytes).to.equal(sum(lengths));
  });

  it("counts the same wherever the bytes are cut in two", () => {
    const stream = everyKind();
    const whole = readIn(stream, [stream.length]);
    expect(whole.seen.messages.map((message) => message.length)).to.deep.equal([5, 0, 125, 126, 130, 65_536]);
    expect(whole.seen.pings).to.deep.equal(["", "between"]);
    expect(whole.seen.closes).to.deep.equal([4508]);
    for (let cut = 1; cut < stream.length; cut++) {
      // Inside the one large payload every cut is alike: a sample of them is enough.
      if (cut > 700 && cut < stream.length - 100 && cut % 997 !== 0) continue;
      const { counter, seen } = readIn(stream, [cut, stream.length]);
      expect(counter.messages, `messages, cut at ${cut}`).to.equal(whole.counter.messages);
      expect(counter.payloadBytes, `bytes, cut at ${cut}`).to.equal(whole.counter.payloadBytes);
      expect(seen, `what was read, cut at ${cut}`).to.deep.equal(whole.seen);
    }
  });

  it("counts the same when every byte comes alone", () => {
    const stream = everyKind();
    const whole = readIn(stream, [stream.length]);
    const cuts = Array.from(stream, (_, index) => index + 1);
    const { counter, seen } = readIn(stream, cuts);
    expect(counter.messages).to.equal(6);
    expect(seen).to.deep.equal(whole.seen);
  });

  it("counts every encoding byte by byte without collecting payloads", () => {
    const counter = new FrameCounter();
    for (const byte of inOrder) counter.feed(Uint8Array.of(byte));
    expect(counter.messages).to.equal(lengths.length);
    expect(counter.payloadBytes).to.equal(sum(lengths));
  });

  it("counts a message when its last byte is there and not before", () => {
    const stream = frame(text, Buffer.alloc(330));
    const counter = new FrameCounter();
    counter.feed(stream, stream.length - 1);
    expect(counter.messages).to.equal(0);
    counter.feed(stream, stream.length, stream.length - 1);
    expect(counter.messages).to.equal(1);
  });

  it("reads the same memory again after it was overwritten", () => {
    const seen: string[] = [];
    const counter = new FrameCounter({ message: (payload) => seen.push(Buffer.from(payload).toString()) });
    const stream = frame(text, Buffer.from("first and second"));
    const shared = Buffer.alloc(7);
    for (let at = 0; at < stream.length; at += shared.length) {
      const length = stream.copy(shared, 0, at);
      counter.feed(shared, length);
      shared.fill(0);
    }
    expect(seen).to.deep.equal(["first and second"]);
  });

  it("counts a message that is spread over frames once, with a ping between them", () => {
    const pings: string[] = [];
    const counter = new FrameCounter({ ping: (payload) => pings.push(Buffer.from(payload).toString()) });
    counter.feed(frame(text, Buffer.from("abc"), { final: false }));
    counter.feed(frame(ping, Buffer.from("still there?")));
    counter.feed(frame(continuation, Buffer.from("de"), { final: false }));
    expect(counter.messages).to.equal(0);
    counter.feed(frame(continuation, Buffer.from("f")));
    expect(counter).to.include({ messages: 1, payloadBytes: 6 });
    expect(pings).to.deep.equal(["still there?"]);
  });

  it("tells small messages from the others, and forgets its counts but not its place when reset", () => {
    const counter = new FrameCounter({}, { smallBelowBytes: 100 });
    const stream = Buffer.concat([frame(text, Buffer.alloc(99)), frame(text, Buffer.alloc(100))]);
    counter.feed(stream, stream.length - 50);
    expect(counter).to.include({ messages: 0, small: 1 });
    counter.reset();
    counter.feed(stream, stream.length, stream.length - 50);
    expect(counter).to.include({ messages: 1, small: 0, payloadBytes: 100 });
  });

  it("says 1005 for a close without a code", () => {
    const codes: number[] = [];
    new FrameCounter({ close: (code) => codes.push(code) }).feed(frame(close, Buffer.alloc(0)));
    expect(codes).to.deep.equal([1005]);
  });

  it("refuses bytes that no server may send", () => {
    const feed = (...bytes: number[]) => new FrameCounter().feed(Uint8Array.from(bytes));
    expect(() => feed(0xc1, 0x00)).to.throw("reserved bits");
    expect(() => feed(0x83, 0x00)).to.throw("unknown opcode 3");
    expect(() => feed(0x89, 0x7e, 0x00, 0x80)).to.throw("control frame");
    expect(() => feed(0x82, 0x7f, 0xff, 0, 0, 0, 0, 0, 0, 0)).to.throw("longer than any memory");
  });
});

/** A stream with every encoding of a length, split messages, and all three control frames. */
function everyKind(): Buffer {
  return Buffer.concat([
    frame(text, Buffer.from("first")),
    frame(ping, Buffer.alloc(0)),
    frame(text, Buffer.alloc(0)),
    frame(text, Buffer.alloc(125, 0x62)),
    frame(text, Buffer.alloc(126, 0x63)),
    frame(text, Buffer.alloc(60, 0x64), { final: false }),
    frame(ping, Buffer.from("between")),
    frame(continuation, Buffer.alloc(70, 0x65)),
    frame(pong, Buffer.from("unasked")),
    frame(text, Buffer.alloc(65_536, 0x66)),
    frame(close, Buffer.from([0x11, 0x9c, 0x73, 0x6c, 0x6f, 0x77])),
  ]);
}

function readIn(stream: Buffer, ends: readonly number[]): { counter: FrameCounter; seen: Seen } {
  const seen: Seen = { messages: [], pings: [], closes: [] };
  const counter = new FrameCounter({
    message: (payload) => seen.messages.push(Buffer.from(payload).toString()),
    ping: (payload) => seen.pings.push(Buffer.from(payload).toString()),
    close: (code) => seen.closes.push(code),
  });
  let start = 0;
  for (const end of ends) {
    counter.feed(stream, end, start);
    start = end;
  }
  return { counter, seen };
}

function frame(opcode: number, payload: Buffer, options: { final?: boolean } = {}): Buffer {
  const first = (options.final === false ? 0 : 0x80) | opcode;
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, payload.length]), payload]);
  if (payload.length < 65_536) {
    return Buffer.concat([Buffer.from([first, 126, payload.length >> 8, payload.length & 0xff]), payload]);
  }
  const header = Buffer.alloc(10);
  header[0] = first;
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([header, payload]);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
