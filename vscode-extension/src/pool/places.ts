/** Places in files that a Python stack names. */

/** A place in a file, and where in the text it is named. */
export interface Place {
  start: number;
  end: number;
  file: string;
  /** From 1. */
  line: number;
}

/** The places of a stack as Python prints it. Files without a full path are none: `<frozen runpy>`. */
export function places(text: string): Place[] {
  return [...text.matchAll(/File "(\/[^"\n]+)", line (\d+)/g)].map((match) => ({
    start: match.index,
    end: match.index + match[0].length,
    file: match[1] ?? '',
    line: Number(match[2]),
  }));
}
