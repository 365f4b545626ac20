/* The lab as a program: starts it, says where it is, and stops it when asked to. */
import { ConfigurationError, DatabaseUnreachableError, type Gateway } from "tailgate";
import { startLab } from "./lab.js";
import { stopWithParent, tellParent } from "./parent.js";
import { labSettings } from "./settings.js";

let gateway: Gateway | undefined;
let isStopping = false;

function stop(): void {
  // Someone who asks twice wants it now.
  if (isStopping) process.exit(1);
  isStopping = true;
  if (gateway === undefined) process.exit(0);
  void gateway.stop().then(() => process.exit(0));
}

process.on("SIGTERM", stop).on("SIGINT", stop);
stopWithParent(() => {
  if (!isStopping) stop();
});

try {
  gateway = await startLab(labSettings());
  console.log(`the lab is at http://${process.env.HOST || "127.0.0.1"}:${gateway.port}/`);
  tellParent({ ready: "gateway", port: gateway.port });
} catch (error) {
  console.error((error as Error).message);
  if (error instanceof ConfigurationError) process.exit(78);
  process.exit(error instanceof DatabaseUnreachableError ? 69 : 1);
}
