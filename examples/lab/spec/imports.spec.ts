import { readdir, readFile } from "node:fs/promises";
import { expect } from "chai";

const allowed = /^(tailgate|mongodb|zod|node:[\w/]+|\.\.?\/[\w./-]+)$/;

describe("the lab's imports", () => {
  it("are the package's public interface, the driver, zod, Node and the lab itself", async () => {
    const folder = new URL("../", import.meta.url);
    const files = (await readdir(folder, { recursive: true })).filter(
      (file) => file.endsWith(".ts") && !file.startsWith("spec"),
    );
    expect(files).to.include.members(["lab.ts", "tasks/definitions.ts"]);
    for (const file of files) {
      const text = await readFile(new URL(file, folder), "utf8");
      for (const [, specifier = ""] of text.matchAll(/(?:\bfrom |\bimport |\bimport\(|\bresolve\()"([^"]+)"/g)) {
        if (specifier === "tsx") continue;
        expect(specifier, file).to.match(allowed);
        if (specifier.startsWith(".")) {
          const target = new URL(specifier, new URL(file, folder)).href;
          expect(target.startsWith(folder.href), `${file} imports ${specifier}`).to.equal(true);
        }
      }
    }
  });
});
