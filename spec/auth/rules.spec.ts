import { expect } from "chai";
import type { Document } from "mongodb";
import { resolveRule } from "../../src/auth/rules.js";
import type { Rule, User } from "../../src/config/settings.js";
import { compileFilter } from "../../src/filter/compile.js";

const allows = (rule: Rule, user: User | null, document: Document): boolean => {
  const resolved = resolveRule(rule, user);
  return typeof resolved === "boolean" ? resolved : compileFilter(resolved)(document);
};
const ann: User = { sub: "ann", org: { id: 7 }, teams: ["red", "blue"], admin: false };

describe("a rule for a user", () => {
  const rows: [name: string, rule: Rule, user: User | null, document: Document, allowed: boolean][] = [
    ["true allows everyone", true, null, {}, true],
    ["false allows no one", false, ann, {}, false],
    ["a function decides", (user) => user?.sub === "ann", ann, {}, true],
    ["a function may return a filter", (user) => ({ owner: user?.sub ?? "-" }), ann, { owner: "ann" }, true],
    ["a claim is compared", { owner: "$user.sub" }, ann, { owner: "ann" }, true],
    ["and may differ", { owner: "$user.sub" }, ann, { owner: "bob" }, false],
    ["a claim below a path", { "user.id": { $eq: "$user.sub" } }, ann, { user: { id: "ann" } }, true],
    ["a claim inside a claim", { org: "$user.org.id" }, ann, { org: 7 }, true],
    ["a false claim is a value", { admin: "$user.admin" }, ann, { admin: false }, true],
    ["a list under $in", { team: { $in: "$user.teams" } }, ann, { team: "blue" }, true],
    ["a list under $in, another team", { team: { $in: "$user.teams" } }, ann, { team: "green" }, false],
    ["claims in a list", { team: { $in: ["$user.sub", "all"] } }, ann, { team: "ann" }, true],
    ["a list elsewhere matches nothing", { teams: "$user.teams" }, ann, { teams: ["red", "blue"] }, false],
    ["a scalar under $in matches nothing", { team: { $in: "$user.sub" } }, ann, { team: "ann" }, false],
    ["a missing claim matches nothing", { owner: "$user.nope" }, ann, {}, false],
    ["nor null", { owner: "$user.nope" }, ann, { owner: null }, false],
    ["nor by $ne", { owner: { $ne: "$user.nope" } }, ann, { owner: "x" }, false],
    ["nor by $nin", { owner: { $nin: ["$user.nope"] } }, ann, { owner: "x" }, false],
    ["nor by $not", { owner: { $not: { $eq: "$user.nope" } } }, ann, { owner: "x" }, false],
    ["nor by $nor", { $nor: [{ owner: "$user.nope" }] }, ann, { owner: "x" }, false],
    ["nor in part", { public: true, owner: "$user.nope" }, ann, { public: true }, false],
    [
      "but other branches of $or hold",
      { $or: [{ public: true }, { owner: "$user.nope" }] },
      ann,
      { public: true },
      true,
    ],
    ["anonymous has no claims", { owner: "$user.sub" }, null, { owner: "null" }, false],
    ["a claim from a prototype is none", { owner: "$user.toString" }, ann, { owner: "x" }, false],
    [
      "a claim that is an object never becomes an operator (hazard 37a)",
      { owner: "$user.org" },
      { sub: "x", org: { $ne: 1 } },
      { owner: 2 },
      false,
    ],
    ["a claim of null matches nothing", { owner: "$user.gone" }, { sub: "x", gone: null }, {}, false],
    [
      "a claim that looks like a claim is text",
      { owner: "$user.sub" },
      { sub: "$user.sub" },
      { owner: "$user.sub" },
      true,
    ],
  ];
  for (const [name, rule, user, document, allowed] of rows) {
    it(name, () => {
      expect(allows(rule, user, document)).to.equal(allowed);
    });
  }
});
