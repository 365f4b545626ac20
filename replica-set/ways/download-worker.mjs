import { createRequire } from "node:module";

// mongodb-runner's own downloader: taken from where mongodb-runner finds it, so that both are always the same version.
const require = createRequire(createRequire(import.meta.url).resolve("mongodb-runner"));
const { downloadMongoDb } = require("@mongodb-js/mongodb-downloader");

const [directory, version] = process.argv.slice(2);
try {
  console.log(await downloadMongoDb({ directory, version, useLockfile: true }));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
