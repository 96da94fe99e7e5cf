/** What the extension and its results view say to each other. */
import type { Part, Status } from '../runs';
import type { LiveLine } from '../runs';
import type { Output, Rich } from '../timeline';
import type { Table, TableArgs } from '../generated/server';

/** Names a run in the view, also one without an id. */
export type RunKey = number;

/** What stands above a run's output. */
export interface Head {
  readonly title: string;
  /** Its cell's file and line, as people write them, and who else has started it; empty if it has no cell. */
  readonly place: string;
  /** The target in words; empty if it is no run. */
  readonly target: string;
  readonly see: string;
  readonly quiet: boolean;
  /** Another run asked for this one. */
  readonly nested: boolean;
  readonly parts: readonly Readonly<Part>[];
  readonly running: boolean;
  readonly status?: Status;
  /** What has become of what it has left: `not run since the restart`. Absent if that is there. */
  readonly gone?: string;
  /** How long it took, or how long it has been going on when this is sent. */
  readonly seconds: number;
  /** How many of its first entries were forgotten. */
  readonly elided: number;
}

/** An entry. Only its ranks may change. */
export interface WireEntry {
  readonly id: number;
  readonly ranks: readonly number[];
  readonly output: Output;
}

/** At an index, so many entries are removed, then others inserted. */
export interface Splice {
  readonly index: number;
  readonly removed: number;
  readonly added: WireEntry[];
}

/** The changes of a run: all splices in their order, then the ranks. */
export interface RunUpdate {
  readonly key: RunKey;
  readonly head?: Head;
  readonly splices?: readonly Splice[];
  /** By id of the entry. */
  readonly ranks?: readonly (readonly [number, readonly number[]])[];
  readonly live?: readonly LiveLine[];
  readonly forgotten?: true;
}

export type ToView =
  /** What has changed. The view gets the next message only after it has answered `taken`. With `reset` it forgets what it has. */
  | { readonly type: 'update'; readonly reset?: true; readonly runs: readonly RunUpdate[] }
  /** Bring a run into view, which may come with a later update. */
  | { readonly type: 'goTo'; readonly key: RunKey }
  /** A command that is the view's own. */
  | { readonly type: 'do'; readonly command: ViewCommand }
  /** How the code of the prompt may go on, as asked for under that number. */
  | { readonly type: 'completions'; readonly id: number; readonly replaces: string; readonly matches: readonly Match[] }
  /** Say which run's cell to go to: that with the focus, or the topmost. */
  | { readonly type: 'whichCell' };

/** One way in which code may go on. */
export interface Match {
  readonly text: string;
  readonly kind?: string;
}

export const viewCommands = ['find', 'copy', 'wrap', 'sideBySide', 'ranks', 'prompt'] as const;

export type ViewCommand = (typeof viewCommands)[number];

export type FromView =
  /** It has nothing yet. */
  | { readonly type: 'ready' }
  | { readonly type: 'taken' }
  /** A place in a file, as output names it: an absolute path or not, a line from 1. */
  | { readonly type: 'open'; readonly path: string; readonly line: number }
  | { readonly type: RunAction; readonly key: RunKey }
  | { readonly type: 'copy'; readonly text: string }
  /** Run what was typed, on a target or, with an empty one, where autodip says. */
  | { readonly type: 'run'; readonly code: string; readonly target: string }
  /** Say how code may go on. */
  | { readonly type: 'complete'; readonly code: string; readonly target: string; readonly id: number }
  /** Something with an entry of a run: open it large, save it as a file. */
  | { readonly type: EntryAction; readonly key: RunKey; readonly entry: number }
  /** Show the setting that allows outputs to use the network. */
  | { readonly type: 'network' };

const entryActions = ['enlarge', 'save'] as const;

/** What can be done with an entry. */
export type EntryAction = (typeof entryActions)[number];

export const runActions = ['goToCell', 'showOutput', 'interrupt'] as const;

/** What can be done with a run. */
export type RunAction = (typeof runActions)[number];

/** A message of the view, if it is a valid one: the page shows what programs have made, so nothing from it is trusted. */
export function fromView(message: unknown): FromView | undefined {
  const { type, path, line, key, text, entry, code, target, id } = fields(message);
  if (type === 'ready' || type === 'taken' || type === 'network') {
    return { type };
  }
  if (type === 'open') {
    return typeof path === 'string' && Number.isInteger(line) ? { type, path, line: line as number } : undefined;
  }
  if (type === 'copy') {
    return typeof text === 'string' ? { type, text } : undefined;
  }
  if (type === 'run' || type === 'complete') {
    if (typeof code !== 'string' || typeof target !== 'string') {
      return undefined;
    }
    return type === 'run'
      ? { type, code, target }
      : Number.isInteger(id)
        ? { type, code, target, id: id as number }
        : undefined;
  }
  const wanted = entryActions.find((name) => name === type);
  if (wanted) {
    return Number.isInteger(key) && Number.isInteger(entry)
      ? { type: wanted, key: key as number, entry: entry as number }
      : undefined;
  }
  const action = runActions.find((name) => name === type);
  return action && Number.isInteger(key) ? { type: action, key: key as number } : undefined;
}

/** Whether a message that the view gets is one of the extension's. */
export function isToView(message: unknown): message is ToView {
  const { type, runs, command, key, matches } = fields(message);
  return (
    (type === 'update' && Array.isArray(runs)) ||
    (type === 'goTo' && Number.isInteger(key)) ||
    type === 'whichCell' ||
    (type === 'completions' && Array.isArray(matches)) ||
    (type === 'do' && viewCommands.some((name) => name === command))
  );
}

/** What a page of one output is told. */
export interface ToEnlarged {
  readonly type: 'show';
  readonly output: Rich;
  /** Whose output it is, in words. */
  readonly whose: string;
}

export function isToEnlarged(message: unknown): message is ToEnlarged {
  const { type, output } = fields(message);
  return type === 'show' && typeof output === 'object';
}

export type FromEnlarged =
  | { readonly type: 'ready' | 'network' }
  | { readonly type: 'save'; readonly extension: 'png' | 'svg'; readonly content: Uint8Array }
  /** A sentence for the user. */
  | { readonly type: 'tell'; readonly text: string };

/** A message of a page of one output, if it is a valid one. */
export function fromEnlarged(message: unknown): FromEnlarged | undefined {
  const { type, extension, content, text } = fields(message);
  switch (type) {
    case 'ready':
    case 'network':
      return { type };
    case 'save':
      return (extension === 'png' || extension === 'svg') && content instanceof Uint8Array
        ? { type, extension, content }
        : undefined;
    case 'tell':
      return typeof text === 'string' ? { type, text: text.slice(0, 200) } : undefined;
    default:
      return undefined;
  }
}

/** Which part of a table is asked for. */
export type TablePart = Omit<TableArgs, 'name' | 'uri'>;

/** What the page of a table is told: the answer to the request of that number. */
export interface ToTable {
  readonly type: 'tables';
  readonly number: number;
  readonly tables: readonly Table[];
  /** Why there is no answer. */
  readonly problem?: string;
}

export function isToTable(message: unknown): message is ToTable {
  const { type, number, tables } = fields(message);
  return type === 'tables' && Number.isInteger(number) && Array.isArray(tables);
}

export type FromTable =
  | { readonly type: 'part'; readonly number: number; readonly part: TablePart }
  | { readonly type: 'copy'; readonly text: string };

/** A message of the page of a table, if it is a valid one. The server looks at the part. */
export function fromTable(message: unknown): FromTable | undefined {
  const { type, number, part, text } = fields(message);
  if (type === 'part' && Number.isInteger(number) && typeof part === 'object' && part !== null) {
    return { type, number: number as number, part: part };
  }
  return type === 'copy' && typeof text === 'string' ? { type, text } : undefined;
}

function fields(message: unknown): Readonly<Record<string, unknown>> {
  return typeof message === 'object' && message !== null ? (message as Readonly<Record<string, unknown>>) : {};
}
