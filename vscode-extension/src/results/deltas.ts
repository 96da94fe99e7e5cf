/** What a view of runs has not been told yet. */
import * as path from 'node:path';
import { targetWords } from '../ranks';
import type { Run, Runs, RunsListener } from '../runs';
import type { Entry } from '../timeline';
import type { Head, RunKey, RunUpdate, Splice, WireEntry } from './messages';

/** What sessions call this editor. */
const here = 'VS Code';

interface Pending {
  head: boolean;
  live: boolean;
  splices: Splice[];
  ranks: Map<number, readonly number[]>;
}

/** What a run is called. */
export function titleOf({ event, id }: Run): string {
  return event.title ?? (event.cell === undefined ? (id === '' ? 'Dip' : 'Run') : `Cell ${event.cell}`);
}

/** Collects changes until they are taken: the last state of what changes often, and only the new ones of a run's entries. */
export class Deltas implements RunsListener {
  private readonly pending = new Map<Run, Pending>();
  private gone: RunKey[] = [];
  private readonly keys = new Map<Run, RunKey>();
  private lastKey = 0;
  private readonly stop: () => void;

  constructor(
    private readonly runs: Runs,
    /** Called once there is something to take. */
    private readonly some: () => void,
    private readonly now: () => number = Date.now,
  ) {
    this.stop = runs.listen(this);
  }

  /** The run of a key, if it is known. */
  run(key: RunKey): Run | undefined {
    return this.runs.list.find((run) => this.keys.get(run) === key);
  }

  changed(run: Run): void {
    this.of(run).head = true;
  }

  spliced(run: Run, index: number, removed: number, added: readonly Entry[]): void {
    const pending = this.of(run);
    const last = pending.splices.at(-1);
    const wire = added.map((entry): WireEntry => ({ id: entry.id, ranks: entry.ranks, output: entry.output }));
    if (last && removed === 0 && index === last.index + last.added.length) {
      for (const entry of wire) {
        last.added.push(entry);
      }
    } else {
      pending.splices.push({ index, removed, added: wire });
    }
    pending.head ||= run.elided > 0;
  }

  ranksChanged(run: Run, entry: Entry): void {
    this.of(run).ranks.set(entry.id, entry.ranks);
  }

  waits(): void {
    this.some();
  }

  live(run: Run): void {
    this.of(run).live = true;
  }

  forgotten(run: Run): void {
    this.pending.delete(run);
    this.gone.push(this.key(run));
    this.keys.delete(run);
    this.some();
  }

  /** What has changed since the last take. */
  take(): RunUpdate[] {
    this.runs.settle();
    const updates: RunUpdate[] = this.gone.map((key) => ({ key, forgotten: true }));
    for (const [run, { head, live, splices, ranks }] of this.pending) {
      updates.push({
        key: this.key(run),
        ...(head && { head: this.head(run) }),
        ...(splices.length > 0 && { splices }),
        ...(ranks.size > 0 && { ranks: [...ranks] }),
        ...(live && { live: run.live() }),
      });
    }
    this.drop();
    return updates;
  }

  /** Everything, as updates that begin with nothing. After that there is nothing left to take. */
  takeAll(): RunUpdate[] {
    this.runs.settle();
    this.drop();
    return this.runs.list.map((run) => ({
      key: this.key(run),
      head: this.head(run),
      splices: [
        { index: 0, removed: 0, added: run.timeline.entries.map(({ id, ranks, output }) => ({ id, ranks, output })) },
      ],
      live: run.live(),
    }));
  }

  /** Forgets what was collected, when nobody looks. */
  drop(): void {
    this.pending.clear();
    this.gone = [];
  }

  dispose(): void {
    this.stop();
  }

  private of(run: Run): Pending {
    let pending = this.pending.get(run);
    if (!pending) {
      pending = { head: false, live: false, splices: [], ranks: new Map() };
      this.pending.set(run, pending);
      this.some();
    }
    return pending;
  }

  /** The key of a run. */
  key(run: Run): RunKey {
    let key = this.keys.get(run);
    if (key === undefined) {
      key = ++this.lastKey;
      this.keys.set(run, key);
    }
    return key;
  }

  private head(run: Run): Head {
    const { event } = run;
    const cell = event.cell === undefined ? '' : `cell ${event.cell}`;
    return {
      title: titleOf(run),
      place: [
        ...(event.path === undefined ? [] : [path.basename(event.path), event.title ? cell : '']),
        run.by === undefined || run.by === here ? '' : `by ${run.by}`,
      ]
        .filter(Boolean)
        .join(' · '),
      target: targetWords(event.target),
      see: event.see,
      quiet: event.quiet ?? false,
      nested: event.parent !== undefined,
      parts: [...run.parts.values()].map((part) => ({ ...part })).sort((a, b) => a.rank - b.rank),
      running: run.running,
      ...(run.status && { status: run.status }),
      ...(run.gone !== undefined && { gone: run.gone }),
      seconds: run.seconds ?? (this.now() - run.started) / 1000,
      elided: run.elided,
    };
  }
}
