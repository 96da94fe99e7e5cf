/** What the view shows of the runs, row by row. */
import { listHas, LOCAL } from '../../ranks';
import { plain } from '../../screen';
import type { LiveLine } from '../../runs';
import type { Output } from '../../timeline';
import type { Head, RunKey } from '../messages';
import type { Change, MirrorEntry, MirrorRun } from './mirror';

/** Whose output is shown: that of the ranks in the run's `see`, of all, or of one process. */
export type Choice = 'seen' | 'all' | number;

export interface Options {
  readonly choice: Choice;
  /** Show only what contains this text, in lower case; empty for all. */
  readonly filter: string;
  readonly sideBySide: boolean;
  /** Runs of which only the head is shown. */
  readonly collapsed: ReadonlySet<RunKey>;
}

export type Row =
  | { readonly kind: 'head'; readonly run: MirrorRun; readonly collapsed: boolean }
  | { readonly kind: 'elided'; readonly run: MirrorRun; readonly count: number }
  | { readonly kind: 'entry'; readonly run: MirrorRun; readonly entry: MirrorEntry }
  /** Whose the columns below are. */
  | { readonly kind: 'columns'; readonly run: MirrorRun; readonly columns: readonly (readonly number[])[] }
  /** What the columns' ranks have put out in one place where they differ. */
  | { readonly kind: 'cells'; readonly run: MirrorRun; readonly cells: readonly (MirrorEntry | undefined)[] }
  | { readonly kind: 'live'; readonly run: MirrorRun; readonly line: LiveLine; readonly index: number }
  /** How much of these ranks is not shown. */
  | { readonly kind: 'hidden'; readonly run: MirrorRun; readonly count: number; readonly ranks: readonly number[] };

/** Identifies the row: the same at any time. */
export function rowKey(row: Row): string {
  switch (row.kind) {
    case 'entry':
      return `e${row.entry.id}`;
    case 'cells':
      return `c${row.cells.map((entry) => entry?.id ?? '').join(',')}`;
    case 'live':
      return `l${row.run.key}.${row.index}`;
    default:
      return `${row.kind}${row.run.key}`;
  }
}

/** The rows of all runs. When some change, the others are kept. */
export class Rows {
  readonly list: Row[] = [];
  private readonly heads = new Map<RunKey, number>();
  /** How many entries contain the filter's text. */
  matches = 0;

  /** Makes the rows anew from the first change on, and returns the first new row. */
  update(runs: readonly MirrorRun[], options: Options, from: Change): number {
    const [start, entry] = this.start(runs, options, from);
    this.list.length = start;
    for (let i = from.run; i < runs.length; i++) {
      this.add(runs[i] as MirrorRun, options, i === from.run ? entry : 0);
    }
    this.matches =
      options.filter === '' ? 0 : this.list.filter((row) => row.kind === 'entry' || row.kind === 'cells').length;
    return start;
  }

  /** The first row to make anew, and its entry of the run: 0 if it is the run's head. */
  private start(runs: readonly MirrorRun[], options: Options, from: Change): [row: number, entry: number] {
    const { list } = this;
    const run = runs[from.run];
    const head = run && this.headOf(run);
    if (run === undefined || head === undefined || from.entry === 0 || options.collapsed.has(run.key)) {
      const before = runs.slice(0, from.run).findLast((other) => this.headOf(other) !== undefined);
      return [before ? list.findLastIndex((row) => row.run === before) + 1 : 0, 0];
    }
    if (!sideBySide(run, options)) {
      let low = head + 1;
      let high = list.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (stays(list[middle] as Row, run, from.entry)) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      return [low, from.entry];
    }
    // Columns begin anew after the last output that all ranks share, if they are still the same.
    const heading = list.slice(head, head + 3).find((row) => row.kind === 'columns');
    const columns = columnsOf(run, options.choice);
    if (!heading || heading.columns.join(';') !== columns.join(';')) {
      return [head, 0];
    }
    const last = list.findLastIndex(
      (row) => row.run === run && (row.kind === 'columns' || stays(row, run, from.entry)),
    );
    const row = list[last];
    return row?.kind === 'entry' ? [last + 1, row.entry.index + 1] : [head, 0];
  }

  /** The row of a run's head, if it has one. */
  private headOf(run: MirrorRun): number | undefined {
    const row = this.heads.get(run.key);
    return row !== undefined && this.list[row]?.run === run ? row : undefined;
  }

  /** Adds the rows of a run, those from an entry on. */
  private add(run: MirrorRun, options: Options, from: number): void {
    const { list } = this;
    const { head } = run;
    const collapsed = options.collapsed.has(run.key);
    if (from === 0) {
      this.heads.set(run.key, list.length);
      list.push({ kind: 'head', run, collapsed });
      if (head.elided > 0 && !collapsed && options.filter === '') {
        list.push({ kind: 'elided', run, count: head.elided });
      }
    }
    if (collapsed) {
      return;
    }
    const shows = showing(head, options.choice);
    const content = list.length;
    const columns = sideBySide(run, options) ? columnsOf(run, options.choice) : [];
    if (columns.length > 1) {
      if (from === 0) {
        list.push({ kind: 'columns', run, columns });
      }
      this.addColumns(run, options, columns, shows, from);
    } else {
      for (let i = from; i < run.entries.length; i++) {
        const entry = run.entries[i] as MirrorEntry;
        if (shows(entry) && matches(entry.output, options.filter)) {
          list.push({ kind: 'entry', run, entry });
        }
      }
    }
    if (options.filter !== '') {
      if (from === 0 && list.length <= content + (columns.length > 1 ? 1 : 0)) {
        list.length = content - 1; // nothing of the run matches: not its head either
      }
      return;
    }
    if (columns.length <= 1) {
      this.addHidden(run, options);
    }
    for (const [index, line] of run.live.entries()) {
      if (line.ranks.some((rank) => showsRank(head, options.choice, rank))) {
        list.push({ kind: 'live', run, line, index });
      }
    }
  }

  /** Says how much output of other ranks is hidden by the run's `see`. */
  private addHidden(run: MirrorRun, options: Options): void {
    const { list } = this;
    const ranks = run.head.parts.map((part) => part.rank).filter((rank) => !showsRank(run.head, options.choice, rank));
    if (ranks.length === 0 || options.choice !== 'seen') {
      return;
    }
    const shown = list.length - (this.headOf(run) ?? 0) - (run.head.elided > 0 ? 2 : 1);
    const count = run.entries.length - shown;
    if (count > 0) {
      list.push({ kind: 'hidden', run, count, ranks });
    }
  }

  private addColumns(
    run: MirrorRun,
    options: Options,
    columns: readonly (readonly number[])[],
    shows: (entry: MirrorEntry) => boolean,
    from: number,
  ): void {
    const { list } = this;
    const all = columns.flat().length;
    const columnOf = new Map(columns.flatMap((ranks, column) => ranks.map((rank) => [rank, column] as const)));
    let grid: (MirrorEntry | undefined)[][] = [];
    const next = columns.map(() => 0); // the row of the grid that is free, by column
    const flush = (): void => {
      for (const cells of grid) {
        if (cells.some((entry) => entry && matches(entry.output, options.filter))) {
          list.push({ kind: 'cells', run, cells });
        }
      }
      grid = [];
      next.fill(0);
    };
    for (let i = from; i < run.entries.length; i++) {
      const entry = run.entries[i] as MirrorEntry;
      if (!shows(entry)) {
        continue;
      }
      const of = new Set(entry.ranks.map((rank) => columnOf.get(rank)).filter((column) => column !== undefined));
      const shared = entry.ranks.filter((rank) => columnOf.has(rank)).length;
      if (of.size === 0 || shared === all) {
        flush();
        if (matches(entry.output, options.filter)) {
          list.push({ kind: 'entry', run, entry });
        }
        continue;
      }
      const row = Math.max(...[...of].map((column) => next[column] ?? 0));
      while (grid.length <= row) {
        grid.push(columns.map(() => undefined));
      }
      for (const column of of) {
        (grid[row] as (MirrorEntry | undefined)[])[column] = entry;
        next[column] = row + 1;
      }
    }
    flush();
  }
}

/** Whether a row comes before an entry of a run. */
function stays(row: Row, run: MirrorRun, entry: number): boolean {
  return row.run === run && (row.kind === 'elided' || (row.kind === 'entry' && row.entry.index < entry));
}

/** Whether a run is shown in columns, if its ranks differ. */
function sideBySide(run: MirrorRun, options: Options): boolean {
  return options.sideBySide && typeof options.choice === 'string' && run.head.parts.length > 1;
}

/** The ranks that are shown, grouped by equal output. */
export function columnsOf(run: MirrorRun, choice: Choice): number[][] {
  const ranks = run.head.parts
    .map((part) => part.rank)
    .filter((rank) => rank !== LOCAL && showsRank(run.head, choice, rank));
  let columns = ranks.length > 0 ? [ranks] : [];
  for (const entry of run.entries) {
    if (columns.length === ranks.length) {
      break;
    }
    if (entry.ranks.length < run.head.parts.length && entry.ranks[0] !== LOCAL) {
      const said = new Set(entry.ranks);
      columns = columns.flatMap((column) => {
        const [yes, no] = [column.filter((rank) => said.has(rank)), column.filter((rank) => !said.has(rank))];
        return yes.length > 0 && no.length > 0 ? [yes, no] : [column];
      });
    }
  }
  return columns.sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
}

/** Whether something of a rank is shown. */
export function showsRank(head: Head, choice: Choice, rank: number): boolean {
  switch (choice) {
    case 'all':
      return true;
    case 'seen':
      return !(head.quiet && head.running) && (rank === LOCAL || listHas(head.see, rank) || isSeen(head, rank));
    default:
      return rank === choice;
  }
}

/** Whether a rank is one of those that only the pool has told that a run's `see` names. */
function isSeen({ parts }: Head, rank: number): boolean {
  return parts.some((part) => part.rank === rank && part.seen);
}

/** Whether an entry of a run is shown. Notices always are; with the run's own `see`, so are failures. */
function showing(head: Head, choice: Choice): (entry: MirrorEntry) => boolean {
  const known = new Map<number, boolean>();
  const shows = (rank: number): boolean => {
    let is = known.get(rank);
    if (is === undefined) {
      is = showsRank(head, choice, rank);
      known.set(rank, is);
    }
    return is;
  };
  return ({ output, ranks }) =>
    output.kind === 'notice' || (output.kind === 'failure' && choice === 'seen') || ranks.some(shows);
}

/** Whether an output contains a text, given in lower case. */
function matches(output: Output, filter: string): boolean {
  return filter === '' || textOf(output).toLowerCase().includes(filter);
}

/** An output as plain text. */
export function textOf(output: Output): string {
  switch (output.kind) {
    case 'line':
    case 'notice':
      return plain(output.text);
    case 'failure':
      return plain(output.traceback);
    case 'rich': {
      const { data } = output;
      const text = data['text/plain'] ?? data['text/markdown'] ?? data['text/latex'];
      return typeof text === 'string' ? text : `<${Object.keys(data).join(', ')}>`;
    }
  }
}

/** The label before an output: its ranks and, for a value, its number. Empty where that is clear. */
export function labelOf(list: string, alone: boolean, output: Output): string {
  if (output.kind === 'rich' && output.count !== undefined) {
    return alone ? `Out[${output.count}]:` : `Out[${list}:${output.count}]:`;
  }
  return alone || list === '' ? '' : `[${list}]`;
}
