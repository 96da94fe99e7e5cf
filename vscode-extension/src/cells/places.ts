/** Where cells are, as the server describes them. */
import type { CellInfo } from '../generated/server';
import { linesOf } from './edits';

/** The cell of a line. Undefined if the line belongs to none, as in a YAML header. */
export function cellAt<C extends Pick<CellInfo, 'range'>>(cells: readonly C[], line: number): C | undefined {
  return cells.find(({ range }) => range.start.line <= line && line <= range.end.line);
}

/**
 * Whether a document has cells in a person's eyes, judged from some of its cells. An ordinary module is one cell without a marker, from its
 * first to its last line, and does not count.
 */
export function hasCells(cells: readonly Pick<CellInfo, 'range' | 'header' | 'target'>[], lineCount: number): boolean {
  const [only, ...others] = cells;
  if (!only) {
    return false;
  }
  const { header, last } = linesOf(only);
  return others.length > 0 || header || only.target !== '' || last < lineCount - 1;
}

/**
 * Whether a text seems to have cells. Used until the server has answered: a key pressed right after a file was opened is meant for its
 * cells, and must not type into the text.
 */
export function seemsToHaveCells(text: string): boolean {
  return /^[ \t]*#[ \t]*(%%|In\[[\d ]*\]|<codecell>)/m.test(text);
}

/** What the gutter shows of a cell: how its last run goes or went, that what it has left is gone, or that its text is not what ran. */
export type Mark = 'queued' | 'running' | 'ok' | 'failed' | 'interrupted' | 'gone' | 'stale';

/** The mark of a cell; undefined if it has not run. */
export function markOf({ state, stale, gone }: Pick<CellInfo, 'state' | 'stale' | 'gone'>): Mark | undefined {
  if (state === '') {
    return undefined;
  }
  if (state === 'queued' || state === 'running') {
    return state;
  }
  return gone ? 'gone' : stale ? 'stale' : state;
}

/** The lines in view, from first to last, and some more on both sides, so that a little scrolling needs no new request. */
export function around(shown: readonly { readonly first: number; readonly last: number }[], lineCount: number): Lines {
  const first = Math.min(...shown.map((range) => range.first));
  const last = Math.max(...shown.map((range) => range.last));
  const more = Math.max(last - first, minMore);
  return { first: Math.max(0, first - more), last: Math.min(lineCount - 1, last + more) };
}

const minMore = 40;

export interface Lines {
  readonly first: number;
  readonly last: number;
}

/** Whether everything in view is within the lines. */
export function covers(lines: Lines | undefined, shown: readonly Lines[]): boolean {
  return lines !== undefined && shown.every(({ first, last }) => lines.first <= first && last <= lines.last);
}
