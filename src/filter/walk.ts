import type { Document } from "mongodb";
import { documentOf } from "./bson.js";
import { isPlainObject } from "./limits.js";

/** Stands for a field that is not there, which null equals and undefined is different from. */
export const missing: unique symbol = Symbol("missing");

export type ValueTest = (value: unknown) => boolean;
export type DocumentTest = (document: Document) => boolean;

/**
 * Tests what a path yields in a document, as MongoDB walks it: through sub-documents; through arrays into each
 * sub-document in them and, where the next name is a number, into the element at that place. A path that leads nowhere
 * yields {@link missing}, but nothing at all inside of arrays of other things.
 *
 * @param path - a dotted path, checked
 * @param test - called with each value until it returns true
 * @param intoArray - whether an array at the end of the path yields its elements before itself
 * @returns a function that tells whether any value passed
 */
export function testAt(path: string, test: ValueTest, intoArray: boolean): DocumentTest {
  const steps = path.split(".").map(stepOf);
  const end = intoArray ? leafTest(test) : test;
  const walk: Walk = { steps, last: steps.length - 1, test, end };
  const [first, second] = steps;
  if (first === undefined || steps.length > 2 || steps.some((step) => step.inherited)) {
    return (document) => testFrom(walk, document, 0);
  }
  const { name } = first;
  if (second === undefined) {
    return (document) => {
      const value: unknown = document[name];
      return end(value === undefined && !Object.hasOwn(document, name) ? missing : value);
    };
  }
  const inner = second.name;
  return (document) => {
    const parent: unknown = document[name];
    if (!isPlainObject(parent)) return testFrom(walk, document, 0);
    const value = parent[inner];
    return end(value === undefined && !Object.hasOwn(parent, inner) ? missing : value);
  };
}

interface Step {
  readonly name: string;
  /** The place in an array that the name means, or -1. Only the usual form of a number means one: `0`, not `00`. */
  readonly index: number;
  /** Whether every object has something of that name from its prototype, such as `toString`. */
  readonly inherited: boolean;
}

interface Walk {
  readonly steps: readonly Step[];
  readonly last: number;
  /** For one value. */
  readonly test: ValueTest;
  /** For what the path's last name holds. */
  readonly end: ValueTest;
}

function stepOf(name: string): Step {
  const index = /^(?:0|[1-9]\d{0,8})$/.test(name) ? Number(name) : -1;
  return { name, index, inherited: name in Object.prototype };
}

function leafTest(test: ValueTest): ValueTest {
  return (value) => {
    if (typeof value !== "object" || !Array.isArray(value)) return test(value);
    for (let index = 0; index < value.length; index += 1) if (test(value[index])) return true;
    return test(value);
  };
}

function testFrom(walk: Walk, document: Document, from: number): boolean {
  let current = document;
  for (let at = from; ; at += 1) {
    const step = walk.steps[at];
    if (step === undefined) return false;
    const value = fieldOf(current, step);
    if (at === walk.last) return walk.end(value);
    if (Array.isArray(value)) return testInArray(walk, value, at + 1);
    const inner = documentOf(value);
    if (inner === undefined) return walk.test(missing);
    current = inner;
  }
}

/** The path goes on from `at` inside of `array`. */
function testInArray(walk: Walk, array: readonly unknown[], at: number): boolean {
  const wanted = walk.steps[at]?.index;
  for (let index = 0; index < array.length; index += 1) {
    const element = array[index];
    const inner = documentOf(element);
    if (inner !== undefined && testFrom(walk, inner, at)) return true;
    if (index !== wanted) continue;
    // The element itself, without a look into it where it is an array: MongoDB goes into an array once per name.
    if (at === walk.last) {
      if (walk.test(element)) return true;
    } else if (inner !== undefined) {
      if (testFrom(walk, inner, at + 1)) return true;
    } else if (Array.isArray(element) && testInArray(walk, element, at + 1)) return true;
  }
  return false;
}

function fieldOf(document: Document, step: Step): unknown {
  if (step.inherited && !Object.hasOwn(document, step.name)) return missing;
  const value: unknown = document[step.name];
  return value === undefined && !Object.hasOwn(document, step.name) ? missing : value;
}
