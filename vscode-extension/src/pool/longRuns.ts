/** Runs that took long: what to tell a user who has looked elsewhere meanwhile. */
import type { DipEvent } from '../generated/server';
import { duration } from '../ranks';
import type { Run } from '../runs';

export interface Ended {
  readonly text: string;
  readonly good: boolean;
  readonly run: string;
}

/** What the end of a run says to somebody who waits for it; undefined if nobody does, since it took less than `after` seconds (0: nobody ever). */
export function ended(event: DipEvent, run: Pick<Run, 'id' | 'event'> | undefined, after: number): Ended | undefined {
  if (event.event !== 'run_finished' || !run || run.event.parent !== undefined) {
    return undefined; // what a cell has asked for belongs to the cell
  }
  if (after <= 0 || event.seconds < after || event.status === 'skipped') {
    return undefined;
  }
  const { cell, title } = run.event;
  const name = title === undefined || title === '' ? '' : `“${title}”`;
  const what = cell === undefined ? (title ?? 'A run') : ['Cell', cell, name].filter((part) => part !== '').join(' ');
  const how = { ok: 'has ended', error: 'has failed', interrupted: 'was interrupted', died: 'has died' }[event.status];
  const why = event.reason ? `: ${event.reason}` : '';
  const text = `${what} ${how} after ${duration(event.seconds)}${why}`;
  return { text, good: event.status === 'ok', run: run.id };
}
