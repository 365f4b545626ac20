import { readdirSync, readFileSync } from "node:fs";
import { expect } from "chai";

const root = new URL("../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");

/** Statements that a spec of another file proves, or part of them. */
const elsewhere: Readonly<Record<string, readonly [file: string, title: string]>> = {
  C9: ["spec/sockets/server.spec.ts", "cut a message far over the limit"],
  C11: ["spec/sockets/server.spec.ts", "close a slow reader with 4508 after what was sent to it"],
};

describe("PROTOCOL.md", () => {
  const statements = [...read("PROTOCOL.md").matchAll(/^- \*\*([CPS]\d+)\*\*/gm)].map((match) => match[1] ?? "");
  const titles = readdirSync(new URL(".", import.meta.url))
    .filter((name) => name !== "statements.spec.ts" && name.endsWith(".spec.ts"))
    .flatMap((name) => [...read(`spec/protocol/${name}`).matchAll(/(?:it|describe)\("([CPS]\d+):/g)])
    .map((match) => match[1] ?? "");

  it("numbers its statements in order, without a gap", () => {
    for (const letter of ["C", "P", "S"]) {
      const numbers = statements.filter((each) => each.startsWith(letter)).map((each) => Number(each.slice(1)));
      expect(numbers).to.deep.equal(Array.from({ length: numbers.length }, (_, n) => n + 1));
      expect(numbers.length).to.be.greaterThan(4);
    }
  });

  it("has a spec for each of its statements, and none for what it does not state", () => {
    const proven = new Set([...titles, ...Object.keys(elsewhere)]);
    expect(statements.filter((each) => !proven.has(each))).to.deep.equal([]);
    expect([...proven].filter((each) => !statements.includes(each))).to.deep.equal([]);
  });

  for (const [statement, [file, title]] of Object.entries(elsewhere)) {
    it(`${statement} is proven by ${file}`, () => {
      expect(read(file)).to.contain(title);
    });
  }
});
