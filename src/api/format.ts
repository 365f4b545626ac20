import type { Document } from "mongodb";
import { z } from "zod";
import { decodeDocument } from "../database.js";
import { RequestError } from "../errors.js";
import { type Format, formats } from "../message.js";

export const formatSchema = z
  .enum(formats)
  .meta({ description: "ejson: canonical Extended JSON, which keeps all types of BSON apart", default: "json" });

/** The parameters of `GET /api/{interface}/{id}`. */
export const itemParametersSchema = z.strictObject({ format: formatSchema.optional() });

/** How rows are read, so that they can be shown in a format. */
export interface Reading {
  /** For `find`. */
  readonly options: { readonly raw?: true };
  /** @returns the document of a row, and its bytes where they were read */
  read(row: Document): { readonly document: Document; readonly bytes?: Uint8Array };
}

export const readings: Readonly<Record<Format, Reading>> = {
  json: { options: {}, read: (document) => ({ document }) },
  ejson: {
    options: { raw: true },
    read(row) {
      // The driver hands out bytes then, whatever its types say.
      const bytes = row as Uint8Array;
      return { document: decodeDocument(bytes), bytes };
    },
  },
};

/**
 * @param querystring - of a request for a single document, without its question mark
 * @throws RequestError 400 `unknown-parameter`, `repeated-parameter` or `bad-format`
 */
export function itemFormatOf(querystring: string): Format {
  const parameters = [...new URLSearchParams(querystring)];
  const other = parameters.find(([name]) => !Object.hasOwn(itemParametersSchema.shape, name));
  if (other !== undefined) {
    const detail = `there is no parameter ${JSON.stringify(other[0])} of a single document; there is format`;
    throw new RequestError(400, "unknown-parameter", detail);
  }
  if (parameters.length > 1) throw new RequestError(400, "repeated-parameter", "format is there more than once");
  const { success, data } = itemParametersSchema.safeParse(Object.fromEntries(parameters));
  if (!success) throw badFormat();
  return data.format ?? "json";
}

export function badFormat(): RequestError {
  return new RequestError(400, "bad-format", `format has to be one of ${formats.join(", ")}`);
}
