import { TailgateError } from "../errors.js";
import { type App, LIBUS_LISTEN_EXCLUSIVE_PORT, type us_listen_socket } from "./uws.js";

type Listen = (
  host: string,
  port: number,
  options: number,
  listener: (token: us_listen_socket | false) => void,
) => void;

/**
 * @returns the socket that listens
 * @throws TailgateError `port-in-use`
 */
export function listen(app: ReturnType<typeof App>, host: string, port: number): Promise<us_listen_socket> {
  return new Promise((resolve, reject) => {
    // The binary takes host and options together, its types don't say so. Without the option a second gateway would share
    // the port in silence, and each would get some of the connections.
    (app.listen as unknown as Listen).call(app, host, port, LIBUS_LISTEN_EXCLUSIVE_PORT, (token) => {
      if (token !== false) resolve(token);
      else
        reject(
          new TailgateError(
            "port-in-use",
            `can't listen on ${host}:${port}: the port is in use or the address is not this machine's. Set PORT to another, or stop what uses it`,
          ),
        );
    });
  });
}
