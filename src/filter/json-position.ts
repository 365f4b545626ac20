const value =
  /(?:"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y;
const key = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"[ \t\n\r]*:/y;
const space = /[ \t\n\r]*/y;

/**
 * Finds where a text stops being JSON; the messages of `JSON.parse` tell it in some cases only.
 *
 * @param text - what `JSON.parse` has refused
 * @returns the index of the first character that can't be there; the length of the text where its end is missing
 */
export function jsonErrorPosition(text: string): number {
  /** The closing brackets of what is open. */
  const open: string[] = [];
  let at = 0;
  /** What may come next: a value, a key, a value or key or the end of a container just opened, or what follows a value. */
  let next: "value" | "key" | "first" | "after" = "value";
  for (;;) {
    at = endOf(space, text, at) ?? at;
    const character = text.charAt(at);
    const closing = open.at(-1);
    if (next === "after" || (next === "first" && character === closing)) {
      if (closing === undefined) return at;
      if (character === closing) {
        open.pop();
        next = "after";
      } else if (next === "after" && character === ",") next = closing === "}" ? "key" : "value";
      else return at;
      at += 1;
      continue;
    }
    if (next === "key" || (next === "first" && closing === "}")) {
      const end = endOf(key, text, at);
      if (end === undefined) return at;
      at = end;
      next = "value";
    } else if (character === "{" || character === "[") {
      open.push(character === "{" ? "}" : "]");
      at += 1;
      next = "first";
    } else {
      const end = endOf(value, text, at);
      if (end === undefined) return at;
      at = end;
      next = "after";
    }
  }
}

function endOf(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}
