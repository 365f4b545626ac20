import { expect } from "chai";
import type { Document } from "mongodb";
import { sortValuesOf } from "../../src/api/sort-values.js";
import { parseSort } from "../../src/filter/sort.js";

/** What MongoDB sorts by: the cases that not every server in use shares, by the manual and by the keys of its indexes. */
describe("the values that a document is sorted by", () => {
  const cases: [title: string, document: Document, sort: string, values: unknown[]][] = [
    ["a missing field counts as null", {}, "a", [null]],
    ["a path through a scalar counts as null", { a: 5 }, "a.b", [null]],
    ["an array counts by its least element upwards", { a: [3, 1, 2] }, "a", [1]],
    ["an array counts by its greatest element downwards", { a: [3, 1, 2] }, "-a", [3]],
    ["types come in their order inside of an array", { a: ["x", 5, null] }, "a", [null]],
    ["an empty array counts as undefined", { a: [] }, "a", [undefined]],
    ["an array in an array is a value of its own", { a: [[1], "x"] }, "-a", [[1]]],
    ["a path goes into the documents of an array", { a: [{ b: 2 }, { b: 1 }] }, "a.b", [1]],
    ["an element without the field counts as null", { a: [{ b: 2 }, {}] }, "a.b", [null]],
    ["an element that is no document counts as null", { a: [{ b: 2 }, 7] }, "a.b", [null]],
    ["an empty array on the way counts as null", { a: [] }, "a.b", [null]],
    ["an array at the end of a path in an array counts too", { a: [{ b: [4, 5] }, { b: 6 }] }, "a.b", [4]],
    [
      "two keys go through one array together",
      {
        a: [
          { b: 1, c: 9 },
          { b: 2, c: 1 },
        ],
      },
      "a.b,a.c",
      [1, 9],
    ],
    [
      "each key has its direction",
      {
        a: [
          { b: 1, c: 9 },
          { b: 1, c: 1 },
        ],
      },
      "a.b,-a.c",
      [1, 9],
    ],
    ["names that every object inherits are fields like any other", {}, "toString", [null]],
  ];
  for (const [title, document, sort, values] of cases) {
    it(title, () => {
      expect(sortValuesOf(document, parseSort(sort))).to.deep.equal(values);
    });
  }
});
