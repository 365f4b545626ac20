import type { BSON } from "mongodb";
import { bsonTypeOf } from "./bson.js";

/** A number without loss: coefficient times ten to the exponent. */
interface ExactDecimal {
  readonly coefficient: bigint;
  readonly exponent: number;
}

/**
 * Compares two numbers of any BSON type, or plain ones, by their mathematical value as the server does: 1, 1.0, Long 1
 * and Decimal128 1.00 are equal, and Decimal128 0.1 is not the double 0.1. NaN equals NaN and is below all others.
 *
 * @returns a negative number, 0 or a positive number
 */
export function compareNumbers(left: unknown, right: unknown): number {
  const a = plainNumberOf(left);
  const b = plainNumberOf(right);
  if (a !== undefined && b !== undefined) return comparePlain(a, b);
  const x = a ?? decimalOf(left);
  const y = b ?? decimalOf(right);
  // What is not finite is a plain number by now, so that the other side's finite value can stand as any number.
  if (typeof x === "number" && !Number.isFinite(x)) return comparePlain(x, typeof y === "object" ? 0 : y);
  if (typeof y === "number" && !Number.isFinite(y)) return comparePlain(typeof x === "object" ? 0 : x, y);
  return compareExact(exactOf(x), exactOf(y));
}

/**
 * @returns the value of a number that is not a Decimal128: exact, as a plain number or a bigint; undefined for others
 */
export function plainNumberOf(value: unknown): number | bigint | undefined {
  if (typeof value === "number" || typeof value === "bigint") return value;
  if (typeof value !== "object" || value === null) return undefined;
  const type = bsonTypeOf(value);
  if (type === "Int32" || type === "Double") return (value as BSON.Int32 | BSON.Double).value;
  if (type !== "Long") return undefined;
  const long = value as BSON.Long;
  const near = long.toNumber();
  return Number.isSafeInteger(near) ? near : long.toBigInt();
}

/** @returns whether `value` is a NaN of any type */
export function isNaNValue(value: unknown): boolean {
  const number = plainNumberOf(value);
  return Number.isNaN(number ?? decimalOf(value));
}

/** @returns the integer towards zero, or undefined where it is not finite or has more than 64 bits */
export function truncatedTo64Bits(value: unknown): bigint | undefined {
  const number = plainNumberOf(value) ?? decimalOf(value);
  if (typeof number === "number" && !Number.isFinite(number)) return undefined;
  if (typeof number === "object" && digitsOf(number.coefficient) + number.exponent > 20) return undefined;
  const integer =
    typeof number === "object" ? integerOf(number) : BigInt(typeof number === "number" ? Math.trunc(number) : number);
  return BigInt.asIntN(64, integer) === integer ? integer : undefined;
}

/**
 * @returns a text that is the same for two numbers exactly where {@link compareNumbers} finds them equal
 */
export function numberKey(value: unknown): string {
  if (typeof value === "number") return doubleKey(value);
  const number = plainNumberOf(value) ?? decimalOf(value);
  if (typeof number === "number") return doubleKey(number);
  const exact = exactOf(number);
  const near = Number(`${exact.coefficient}e${exact.exponent}`);
  if (Number.isFinite(near) && compareExact(exactOf(near), exact) === 0) return doubleKey(near);
  const digits = exact.coefficient.toString().replace(/0+$/, "");
  return `${digits}x${exact.exponent + exact.coefficient.toString().length - digits.length}`;
}

function doubleKey(value: number): string {
  return String(value === 0 ? 0 : value);
}

function comparePlain(a: number | bigint, b: number | bigint): number {
  // Between a bigint and a number JavaScript compares the exact values.
  if (a < b) return -1;
  if (a > b) return 1;
  // biome-ignore lint/suspicious/noDoubleEquals: a bigint and a number of one value are equal only loosely
  if (a == b) return 0;
  return Number(Number.isNaN(b)) - Number(Number.isNaN(a));
}

function compareExact(a: ExactDecimal, b: ExactDecimal): number {
  const signs = signOf(a.coefficient) - signOf(b.coefficient);
  if (signs !== 0 || a.coefficient === 0n) return signs;
  const sign = signOf(a.coefficient);
  // Decides by magnitude first, so that no power of ten beyond the digits of both is computed.
  const magnitudes = digitsOf(a.coefficient) + a.exponent - digitsOf(b.coefficient) - b.exponent;
  if (magnitudes !== 0) return magnitudes * sign;
  const exponent = Math.min(a.exponent, b.exponent);
  return signOf(scaled(a, exponent) - scaled(b, exponent));
}

function scaled(number: ExactDecimal, exponent: number): bigint {
  return number.coefficient * 10n ** BigInt(number.exponent - exponent);
}

function integerOf(number: ExactDecimal): bigint {
  if (number.exponent >= 0) return scaled(number, 0);
  return -number.exponent > digitsOf(number.coefficient) ? 0n : number.coefficient / 10n ** BigInt(-number.exponent);
}

function signOf(value: bigint): number {
  return value < 0n ? -1 : value > 0n ? 1 : 0;
}

function digitsOf(value: bigint): number {
  return (value < 0n ? -value : value).toString().length;
}

function exactOf(value: number | bigint | ExactDecimal): ExactDecimal {
  if (typeof value === "object") return value;
  if (typeof value === "bigint") return { coefficient: value, exponent: 0 };
  if (Number.isInteger(value)) return { coefficient: BigInt(value), exponent: 0 };
  // A finite double is m / 2^k, which is m * 5^k / 10^k.
  let halvings = 0;
  let mantissa = value;
  while (!Number.isInteger(mantissa)) {
    mantissa *= 2;
    halvings += 1;
  }
  return { coefficient: BigInt(mantissa) * 5n ** BigInt(halvings), exponent: -halvings };
}

const coefficientLimit = 10n ** 34n;

/**
 * Decodes a Decimal128 (IEEE 754-2008, binary integer decimal).
 *
 * @returns its exact value, or a plain number where it is not finite
 */
function decimalOf(value: unknown): ExactDecimal | number {
  const { bytes } = value as BSON.Decimal128;
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const high = view.getBigUint64(8, true);
  const negative = high >> 63n === 1n;
  const combination = (high >> 58n) & 0x1fn;
  if (combination === 0x1fn) return Number.NaN;
  if (combination === 0x1en) return negative ? -Infinity : Infinity;
  // The second form holds only coefficients over 34 digits, which the standard reads as zero.
  if (combination >> 3n === 3n) return { coefficient: 0n, exponent: 0 };
  const coefficient = ((high & 0x1_ffff_ffff_ffffn) << 64n) | view.getBigUint64(0, true);
  if (coefficient >= coefficientLimit) return { coefficient: 0n, exponent: 0 };
  return { coefficient: negative ? -coefficient : coefficient, exponent: Number((high >> 49n) & 0x3fffn) - 6_176 };
}
