import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

// Loaded into a gateway before its own modules: what it still holds can then be told from what it has let go of.
setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
process.on("SIGUSR2", () => collect());
