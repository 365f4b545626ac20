import { Agent, type AgentOptions, type ClientRequestArgs } from "node:http";
import { Socket } from "node:net";

/**
 * An agent for a server on a unix socket or named pipe. Its sockets outlive a failed write: a server that refuses a body
 * answers and may close without having read all of it. The next write then fails before the answer has been read, and
 * node:net would throw the answer away with the socket. Here reading decides: it finds the answer, or the end.
 */
export class FrontAgent extends Agent {
  readonly #target: { readonly socketPath: string };

  /** @param target - its path is read for each connection: the server behind may be started after the front is made */
  constructor(target: { readonly socketPath: string }, options: AgentOptions) {
    super(options);
    this.#target = target;
  }

  override createConnection(_options: ClientRequestArgs): Socket {
    return new ReadableToTheEnd().connect({ path: this.#target.socketPath });
  }
}

type Done = (error?: Error | null) => void;

class ReadableToTheEnd extends Socket {
  override _write(chunk: unknown, encoding: BufferEncoding, done: Done): void {
    super._write(chunk, encoding, unlessClosedByPeer(done));
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], done: Done): void {
    super._writev?.(chunks, unlessClosedByPeer(done));
  }
}

function unlessClosedByPeer(done: Done): Done {
  return (error) => {
    const code = (error as NodeJS.ErrnoException | null | undefined)?.code;
    done(code === "EPIPE" || code === "ECONNRESET" ? null : error);
  };
}
