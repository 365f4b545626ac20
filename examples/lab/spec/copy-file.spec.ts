import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type LabRig, startRig } from "./support/rig.js";

describe("the task copy-file", () => {
  let rig: LabRig;
  let elsewhere: string;
  before(async () => {
    rig = await startRig();
    elsewhere = await mkdtemp(join(tmpdir(), "tailgate-elsewhere-"));
  });
  after(async () => {
    await rig.stop();
    await rm(elsewhere, { recursive: true, force: true });
  });

  it("copies a file byte by byte, into a folder that it makes, and shows how far it is", async () => {
    const content = Buffer.alloc(3_500_000, "ACGT\n");
    await rig.write("reads.fastq", content);
    const shown = await rig.run("copy-file", { from: "reads.fastq", to: "copies/first/reads.fastq" });
    expect(shown.at(-1)).to.deep.include({
      state: "complete",
      progress: 1,
      result: { from: "reads.fastq", to: "copies/first/reads.fastq", bytes: content.length },
    });
    expect(Buffer.compare(await readFile(join(rig.folder, "copies/first/reads.fastq")), content)).to.equal(0);
    expect(await readdir(join(rig.folder, "copies/first"))).to.deep.equal(["reads.fastq"]);
  });

  it("runs in a thread", () => {
    expect(rig.gateway.executors.threads.stats().workers).to.be.at.least(1);
    expect(rig.gateway.executors.processes.stats().workers).to.equal(0);
  });

  it("leaves a file that is there alone unless it may overwrite it", async () => {
    await rig.write("new.txt", "new");
    await rig.write("old.txt", "old");
    const refused = await rig.end("copy-file", { from: "new.txt", to: "old.txt" });
    expect(refused.error).to.deep.equal({ code: "file-exists", message: "old.txt is there already" });
    expect(await readFile(join(rig.folder, "old.txt"), "utf8")).to.equal("old");
    expect((await rig.end("copy-file", { from: "new.txt", to: "old.txt", overwrite: true })).state).to.equal(
      "complete",
    );
    expect(await readFile(join(rig.folder, "old.txt"), "utf8")).to.equal("new");
    const same = await rig.end("copy-file", { from: "new.txt", to: "new.txt", overwrite: true });
    expect(same.error?.code).to.equal("same-file");
    expect(await readFile(join(rig.folder, "new.txt"), "utf8")).to.equal("new");
  });

  it("fails for a file that is not there, and for a folder", async () => {
    const missing = await rig.end("copy-file", { from: "missing.fastq", to: "copy.fastq" });
    expect(missing.error).to.deep.equal({
      code: "no-such-file",
      message: "there is no file missing.fastq in the data folder",
    });
    await mkdir(join(rig.folder, "folder"), { recursive: true });
    expect((await rig.end("copy-file", { from: "folder", to: "copy.fastq" })).error?.code).to.equal("no-such-file");
  });

  for (const name of ["../secret", "copies/../../secret", "/etc/passwd", ".hidden", "a//b", "a\\..\\b", "", "a/./b"]) {
    it(`refuses the name ${JSON.stringify(name)} before there is a task`, async () => {
      for (const input of [
        { from: name, to: "copy.txt" },
        { from: "reads.fastq", to: name },
      ]) {
        const { status, body } = await rig.post("copy-file", input);
        expect(status).to.equal(400);
        expect(body).to.include({ code: "bad-input" });
      }
    });
  }

  it("does not follow a link out of the data folder, to read or to write", async () => {
    await rig.write("inside.txt", "inside");
    await symlink("/etc/hostname", join(rig.folder, "link.txt"));
    await symlink(elsewhere, join(rig.folder, "way-out"));
    for (const input of [
      { from: "link.txt", to: "taken.txt" },
      { from: "inside.txt", to: "way-out/planted.txt" },
      { from: "inside.txt", to: "way-out/deep/planted.txt" },
      { from: "inside.txt", to: "link.txt", overwrite: true },
    ]) {
      expect((await rig.end("copy-file", input)).error?.code, JSON.stringify(input)).to.equal("outside-data-folder");
    }
    expect(await readdir(elsewhere)).to.deep.equal([]);
    expect(await readdir(rig.folder)).to.not.include("taken.txt");
  });
});
