import { copyFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect } from "chai";
import { binaryFindings, nodeFindings, thisRuntime } from "../../src/doctor/runtime.js";
import { temporaryFiles } from "../support/gateway.js";

describe("the doctor, on what the gateway runs on", () => {
  const runtime = thisRuntime();
  const own = dirname(createRequire(import.meta.url).resolve("uWebSockets.js/package.json"));
  const name = `uws_${runtime.platform}_${runtime.arch}_${runtime.abi}.node`;

  it("accepts this Node.js, and refuses one that is too old", () => {
    expect(nodeFindings(runtime)[0]?.level).to.equal("ok");
    for (const version of ["18.20.4", "20.18.3"]) {
      const [found] = nodeFindings({ ...runtime, version });
      expect(found).to.include({ level: "problem" });
      expect(found?.what).to.contain("20.19.0");
    }
    for (const version of ["20.19.0", "22.0.0", "24.3.1"]) {
      expect(nodeFindings({ ...runtime, version })[0]?.level).to.equal("ok");
    }
  });

  it("names the binary that this Node.js loads", () => {
    const [found] = binaryFindings(runtime);
    expect(found).to.include({ level: "ok" });
    expect(found?.what).to.contain(name).and.to.contain(own);
  });

  it("says which module versions there are binaries for when this one has none", () => {
    const [found] = binaryFindings({ ...runtime, abi: "999" });
    expect(found).to.include({ level: "problem" });
    expect(found?.fix).to.contain(runtime.abi);
    const [elsewhere] = binaryFindings({ ...runtime, platform: "aix" });
    expect(elsewhere?.what).to.contain("no binary for aix");
  });

  it("finds a binary that does not load: one that is damaged, or another platform's", async () => {
    const files = await temporaryFiles({
      "package.json": '{"name":"uWebSockets.js","version":"20.0.0"}',
      [name]: "damaged",
    });
    const [damaged] = binaryFindings(runtime, files.folder);
    expect(damaged).to.include({ level: "problem" });
    expect(damaged?.what).to.contain("uWebSockets.js 20.0.0").and.to.contain("does not load");
    const other = runtime.platform === "linux" ? "uws_darwin_" : "uws_linux_";
    const foreign = (await readdir(own)).find((entry) => entry.startsWith(other)) ?? "";
    await copyFile(join(own, foreign), join(files.folder, `uws_${runtime.platform}_${runtime.arch}_1.node`));
    expect(binaryFindings({ ...runtime, abi: "1" }, files.folder)[0]?.what).to.contain("does not load");
    const [musl] = binaryFindings({ ...runtime, platform: runtime.platform, glibc: undefined }, files.folder);
    if (runtime.platform === "linux") expect(musl?.fix).to.contain("musl");
    await files.dispose();
  });

  it("says how to install a package that is not there", () => {
    expect(binaryFindings(runtime, join(own, "nowhere"))[0]).to.include({ level: "problem", fix: "npm ci" });
  });
});
