/** The runs that a session's journals tell of. */
import { readdir, readFile } from 'node:fs/promises';
import * as path from 'node:path';

export interface Journal {
  /** Id of the run. */
  readonly run: string;
  readonly title: string;
  /** When it began, in milliseconds. */
  readonly started: number;
  /** How it ended; absent if it goes on, or was never told. */
  readonly status?: string;
}

/** How many are read at most: the newest. */
const most = 100;

/** The journals in a directory of runs of a folder that began after a time, the newest first. */
export async function journals(directory: string, folder: string, after: number): Promise<Journal[]> {
  const names = (await readdir(directory)).filter((name) => !name.startsWith('.'));
  const read = await Promise.all(
    names
      .sort()
      .slice(-most)
      .map(async (name) =>
        journal(await readFile(path.join(directory, name, 'run.json'), 'utf8').catch(() => ''), folder),
      ),
  );
  return read
    .filter((found) => found !== undefined)
    .filter(({ started }) => started >= after)
    .toReversed();
}

/** What a `run.json` says of a run; undefined if it is that of another folder, or not written yet. */
function journal(text: string, folder: string): Journal | undefined {
  try {
    const { run, path: file, title, cell, started, status } = JSON.parse(text) as Record<string, unknown>;
    const began = Date.parse(String(started));
    const elsewhere = typeof file === 'string' && !file.startsWith(folder + path.sep);
    if (typeof run !== 'string' || Number.isNaN(began) || elsewhere) {
      return undefined;
    }
    const name =
      typeof title === 'string' && title !== ''
        ? title
        : typeof cell === 'number' && cell > 0
          ? `cell ${cell}`
          : 'a run';
    return { run, title: name, started: began, ...(typeof status === 'string' && { status }) };
  } catch {
    return undefined;
  }
}
