import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect } from "chai";

/**
 * A websocket handshake by hand, so that what follows can be anything.
 *
 * @param more - header lines of the request
 * @returns the socket, behind the handshake
 */
export async function rawUpgrade(port: number, more: readonly string[] = []): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more.map((line) => `${line}\r\n`).join("")}\r\n`,
  );
  let head = "";
  while (!head.includes("\r\n\r\n")) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    head += chunk.toString("latin1");
  }
  expect(head).to.match(/^HTTP\/1.1 101/);
  return socket;
}

/** @returns everything until the connection closes. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  socket.resume();
  // It may be cut: `once` of an event would throw then.
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(chunks);
}

/** @returns the frames of a server, whose payloads are not masked. */
export function framesOf(bytes: Buffer): { opcode: number; payload: Buffer }[] {
  const frames: { opcode: number; payload: Buffer }[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const opcode = bytes.readUInt8(at) & 15;
    let length = bytes.readUInt8(at + 1) & 127;
    at += 2;
    if (length === 126) {
      length = bytes.readUInt16BE(at);
      at += 2;
    } else if (length === 127) {
      length = Number(bytes.readBigUInt64BE(at));
      at += 8;
    }
    frames.push({ opcode, payload: bytes.subarray(at, at + length) });
    at += length;
  }
  return frames;
}

/** @returns a frame as a client sends it, masked with zeros. */
export function clientFrame(payload: Buffer, { opcode = 1, isCompressed = false } = {}): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 6 : payload.length < 65_536 ? 8 : 14);
  head.writeUInt8(0x80 | (isCompressed ? 0x40 : 0) | opcode, 0);
  if (payload.length < 126) head.writeUInt8(0x80 | payload.length, 1);
  else if (payload.length < 65_536) {
    head.writeUInt8(0x80 | 126, 1);
    head.writeUInt16BE(payload.length, 2);
  } else {
    head.writeUInt8(0x80 | 127, 1);
    head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
}
