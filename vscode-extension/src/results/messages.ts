/** What the extension and its results view say to each other. */
import type { Part, Status } from '../runs';
import type { LiveLine } from '../runs';
import type { Output } from '../timeline';

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
  /** A command that is the view's own. */
  | { readonly type: 'do'; readonly command: ViewCommand };

export const viewCommands = ['find', 'copy', 'wrap', 'sideBySide', 'ranks'] as const;

export type ViewCommand = (typeof viewCommands)[number];

export type FromView =
  /** It has nothing yet. */
  | { readonly type: 'ready' }
  | { readonly type: 'taken' }
  /** A place in a file, as output names it: an absolute path or not, a line from 1. */
  | { readonly type: 'open'; readonly path: string; readonly line: number }
  | { readonly type: RunAction; readonly key: RunKey }
  | { readonly type: 'copy'; readonly text: string };

export const runActions = ['goToCell', 'showOutput', 'interrupt'] as const;

/** What can be done with a run. */
export type RunAction = (typeof runActions)[number];

/** A message of the view, if it is a valid one: the page shows what programs have made, so nothing from it is trusted. */
export function fromView(message: unknown): FromView | undefined {
  const { type, path, line, key, text } = fields(message);
  if (type === 'ready' || type === 'taken') {
    return { type };
  }
  if (type === 'open') {
    return typeof path === 'string' && Number.isInteger(line) ? { type, path, line: line as number } : undefined;
  }
  if (type === 'copy') {
    return typeof text === 'string' ? { type, text } : undefined;
  }
  const action = runActions.find((name) => name === type);
  return action && Number.isInteger(key) ? { type: action, key: key as number } : undefined;
}

/** Whether a message that the view gets is one of the extension's. */
export function isToView(message: unknown): message is ToView {
  const { type, runs, command } = fields(message);
  return (type === 'update' && Array.isArray(runs)) || (type === 'do' && viewCommands.some((name) => name === command));
}

function fields(message: unknown): Readonly<Record<string, unknown>> {
  return typeof message === 'object' && message !== null ? (message as Readonly<Record<string, unknown>>) : {};
}
