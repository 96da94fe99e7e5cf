/** The runs as the view knows them, put together from the messages. */
import type { LiveLine } from '../../runs';
import type { Head, RunKey, RunUpdate, Splice, WireEntry } from '../messages';

/** An entry, its place among those of its run, and its ranks, which may change. */
export interface MirrorEntry extends Omit<WireEntry, 'ranks'> {
  index: number;
  ranks: readonly number[];
}

export interface MirrorRun {
  readonly key: RunKey;
  head: Head;
  /** When it began, by the view's clock, in milliseconds. */
  started: number;
  readonly entries: MirrorEntry[];
  live: readonly LiveLine[];
}

/** The first place that has changed: an entry of a run (by their positions), and with it everything below. */
export interface Change {
  run: number;
  entry: number;
}

const unknown: Head = {
  title: '',
  place: '',
  target: '',
  see: 'all',
  quiet: false,
  nested: false,
  parts: [],
  running: false,
  seconds: 0,
  elided: 0,
};

export class Mirror {
  runs: MirrorRun[] = [];
  private readonly byId = new Map<number, MirrorEntry>();

  /** Forgets all there is. */
  reset(): void {
    this.runs = [];
    this.byId.clear();
  }

  /** Takes updates at a time of the view's clock. */
  apply(updates: readonly RunUpdate[], now: number): Change {
    const first: Change = { run: this.runs.length, entry: 0 };
    const changed = (run: number, entry: number): void => {
      if (run < first.run) {
        Object.assign(first, { run, entry });
      } else if (run === first.run) {
        first.entry = Math.min(first.entry, entry);
      }
    };
    for (const update of updates) {
      let index = this.runs.findIndex((run) => run.key === update.key);
      if (update.forgotten) {
        for (const run of index < 0 ? [] : this.runs.splice(index, 1)) {
          this.drop(run.entries);
          changed(index, 0);
        }
        continue;
      }
      if (index < 0) {
        index = this.runs.push({ key: update.key, head: unknown, started: now, entries: [], live: [] }) - 1;
      }
      changed(index, this.update(this.runs[index] as MirrorRun, update, now));
    }
    return first;
  }

  /** Applies an update, and returns the first entry that has changed. */
  private update(run: MirrorRun, update: RunUpdate, now: number): number {
    const { entries } = run;
    let first = entries.length;
    if (update.head) {
      const seen = ({ see, parts }: Head): string => [see, ...parts.map((part) => part.seen ?? false)].join();
      if (seen(update.head) !== seen(run.head) || update.head.parts.length > 1 !== run.head.parts.length > 1) {
        first = 0;
      }
      run.head = update.head;
      run.started = now - update.head.seconds * 1000;
    }
    for (const splices of together(update.splices ?? [])) {
      first = Math.min(first, this.splice(entries, splices));
    }
    for (let i = first; i < entries.length; i++) {
      (entries[i] as MirrorEntry).index = i;
    }
    for (const [id, ranks] of update.ranks ?? []) {
      const entry = this.byId.get(id);
      if (entry) {
        entry.ranks = ranks;
        first = Math.min(first, entry.index);
      }
    }
    if (update.live) {
      run.live = update.live;
    }
    return first;
  }

  /** Applies splices that `together` has grouped, and returns the first index that has changed. */
  private splice(entries: MirrorEntry[], splices: readonly Splice[]): number {
    const first = splices[0]?.index ?? entries.length;
    const behind = entries.splice(first);
    let from = 0; // of behind
    for (const { index, removed, added } of splices) {
      while (entries.length < index) {
        entries.push(behind[from++] as MirrorEntry);
      }
      this.drop(behind.slice(from, from + removed));
      from += removed;
      for (const { id, ranks, output } of added) {
        const entry: MirrorEntry = { id, ranks, output, index: 0 };
        this.byId.set(id, entry);
        entries.push(entry);
      }
    }
    for (; from < behind.length; from++) {
      entries.push(behind[from] as MirrorEntry);
    }
    return first;
  }

  private drop(entries: readonly MirrorEntry[]): void {
    for (const { id } of entries) {
      this.byId.delete(id);
    }
  }
}

/** Groups splices of which each begins behind the one before: a group is applied in one pass, however long it is. */
function* together(splices: readonly Splice[]): Generator<readonly Splice[]> {
  let group: Splice[] = [];
  let end = 0;
  for (const splice of splices) {
    if (group.length > 0 && splice.index < end) {
      yield group;
      group = [];
    }
    group.push(splice);
    end = splice.index + splice.added.length;
  }
  if (group.length > 0) {
    yield group;
  }
}
