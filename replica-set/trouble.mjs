/** What a person can mend: its message is shown as it is, without a stack, and the command ends with 1. */
export class Trouble extends Error {
  name = "Trouble";
}

/** One way can't be taken on this machine, for the reason in the message; the next one is tried. */
export class Unavailable extends Error {
  name = "Unavailable";
}
