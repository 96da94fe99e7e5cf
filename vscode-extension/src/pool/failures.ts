/** Failures of runs that belong to no cell, such as `%dipush x` from a menu: no place in a file shows them. */
import type { DipEvent } from '../generated/server';
import type { Runs } from '../runs';

export class Failures {
  private readonly told = new Set<string>();

  constructor(private readonly runs: Pick<Runs, 'get'>) {}

  /** What to tell the user after an event, once per run; undefined: nothing. */
  apply(event: DipEvent): string | undefined {
    const id = event.run ?? '';
    if (event.event === 'error') {
      return this.tell(id, event.evalue || event.ename);
    }
    if (event.event !== 'run_finished') {
      return undefined;
    }
    const text = event.status === 'error' || event.status === 'died' ? this.tell(id, event.reason ?? '') : undefined;
    this.told.delete(id);
    return text;
  }

  private tell(id: string, why: string): string | undefined {
    const run = this.runs.get(id);
    const { path, cell, parent } = run?.event ?? {};
    if (!run || path || cell || parent || this.told.has(id)) {
      return undefined;
    }
    this.told.add(id);
    const what = run.event.title ?? 'A run';
    return why === '' ? `${what} has failed.` : `${what}: ${why}`;
  }
}
