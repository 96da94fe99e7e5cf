/** Places in files that a Python stack names. */
import type { ProcessStack } from '../generated/server';

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

/** The places of stacks as the server folds them, which names files without their folders: `train.py:41 in step`. */
export function foldedPlaces(text: string, stacks: readonly ProcessStack[]): Place[] {
  const files = new Map<string, string>();
  for (const { file, line } of stacks.flatMap(({ frames = [] }) => frames.flatMap((thread) => thread.frames))) {
    if (file.startsWith('/')) {
      files.set(`${file.slice(file.lastIndexOf('/') + 1)}:${line}`, file);
    }
  }
  return [...text.matchAll(/^ +([^\n:]+):(\d+)/gm)].flatMap((match) => {
    const [all, name = '', line = ''] = match;
    const file = files.get(`${name.trimStart()}:${line}`);
    const end = match.index + all.length;
    return file === undefined ? [] : [{ start: end - all.trimStart().length, end, file, line: Number(line) }];
  });
}
