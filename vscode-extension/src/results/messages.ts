/** What the extension and its results view say to each other. */
import type { Part, Status } from '../runs';
import type { LiveLine } from '../runs';
import type { Output } from '../timeline';

/** Names a run in the view; those that have no id have one, too. */
export type RunKey = number;

/** What stands above what a run has put out. */
export interface Head {
  readonly title: string;
  /** Its cell's file and line, as people write them; empty if it has no cell. */
  readonly place: string;
  /** In words; empty if it is no run. */
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

/** An entry; what of it may change is its ranks. */
export interface WireEntry {
  readonly id: number;
  readonly ranks: readonly number[];
  readonly output: Output;
}

/** At an index so many entries are removed, then others put there. */
export interface Splice {
  readonly index: number;
  readonly removed: number;
  readonly added: WireEntry[];
}

/** What has become of a run: all splices in their order, then the ranks. */
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
  /** What has changed. The view answers `taken`, and gets nothing more before. With `reset` it forgets what it has. */
  | { readonly type: 'update'; readonly reset?: true; readonly runs: readonly RunUpdate[] }
  /** A command that is the view's own. */
  | { readonly type: 'do'; readonly command: ViewCommand };

export type ViewCommand = 'find' | 'copy' | 'wrap' | 'sideBySide' | 'ranks';

export type FromView =
  /** It has nothing yet. */
  | { readonly type: 'ready' }
  | { readonly type: 'taken' }
  /** A place in a file, as output names it: an absolute path or not, a line from 1. */
  | { readonly type: 'open'; readonly path: string; readonly line: number }
  | { readonly type: RunAction; readonly key: RunKey }
  | { readonly type: 'copy'; readonly text: string };

/** What one does with a run. */
export type RunAction = 'goToCell' | 'showOutput' | 'interrupt';
