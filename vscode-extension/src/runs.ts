/** The model of runs, made from their events: which there are, the state of their parts, and their output. One per window. */
import type {
  DipEvent,
  DisplayEvent,
  FailureEvent,
  GoneRun,
  HangEvent,
  ResultEvent,
  RunFinishedEvent,
  RunStartedEvent,
} from './generated/server';
import { isAlarm } from './hangs';
import { listHas, LOCAL } from './ranks';
import { Screen } from './screen';
import { type Entry, type Notice, type Output, Timeline } from './timeline';

export type Status = RunFinishedEvent['status'];

/** A process's part in a run. */
export interface Part {
  /** Its rank, or `LOCAL`. */
  readonly rank: number;
  state: 'busy' | 'ready' | 'interrupting' | 'dead' | 'stopped';
  /** How it ended; absent while it goes on. */
  status?: Status;
  /** How long it took, in seconds; absent while it goes on. */
  seconds?: number;
  /** Of a rank of a pool that is on several hosts. */
  host?: string;
  /** Its output is shown, though the run's `see` does not name it by its number. */
  seen?: boolean;
}

/** A line that is not finished, such as a progress bar, and its ranks. */
export interface LiveLine {
  readonly ranks: readonly number[];
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Is told of changes, in the order in which they happen. Every method is optional. */
export interface RunsListener {
  /** A run began, one of its parts changed, or it ended. */
  changed?(run: Run): void;
  /** At an index of a run's entries, some were removed, then others inserted. */
  spliced?(run: Run, index: number, removed: number, added: readonly Entry[]): void;
  /** The ranks of an entry have changed. */
  ranksChanged?(run: Run, entry: Entry): void;
  /** A run has put out something that waits for `settle`; after that, `spliced` tells of it. */
  waits?(run: Run): void;
  /** The unfinished lines have changed. */
  live?(run: Run): void;
  /** A run was removed from the model. */
  forgotten?(run: Run): void;
}

/** The output of a process in a run that is not in the timeline yet. */
interface Process {
  readonly screens: { readonly stdout: Screen; readonly stderr: Screen };
  readonly displays: Map<string, Entry[]>; // by display_id
  clearing: boolean; // its output is removed when the next output comes
}

/** A run that has begun, or, without an id, output that came outside of runs. */
export class Run {
  readonly parts = new Map<number, Part>();
  /** The hangs that stand at the moment, by number. */
  readonly hangs = new Map<number, HangEvent>();
  readonly timeline: Timeline;
  /** How it ended; absent while it goes on. */
  status?: Status;
  /** How long it took, in seconds; absent while it goes on. */
  seconds?: number;
  /** What has become of what it has left, once that is gone: `not run since the restart`. The server knows. */
  gone?: string;
  /** How many of the first entries were forgotten, to bound memory. The journal has them. */
  elided = 0;
  private readonly processes = new Map<number, Process>();
  private ranks = 0;
  private hasLive = false;

  constructor(
    /** How it began. */
    readonly event: Readonly<Omit<RunStartedEvent, 'event'>>,
    /** When it began, in milliseconds of the clock. */
    readonly started: number,
    private readonly listener: Required<RunsListener>,
    /** Who has started it, if that is known: "VS Code", "dipls exec". */
    readonly by?: string,
  ) {
    this.timeline = new Timeline(
      {
        spliced: (index, removed, added) => {
          listener.spliced(this, index, removed, added);
        },
        ranksChanged: (entry) => {
          listener.ranksChanged(this, entry);
        },
        waits: () => {
          listener.waits(this);
        },
      },
      () => this.ranks,
    );
  }

  /** Its id; empty for output that came outside of runs. */
  get id(): string {
    return this.event.run ?? '';
  }

  get running(): boolean {
    return this.id !== '' && this.status === undefined;
  }

  /** Whether a view should show what a process prints. For a quiet run, only once it has ended. Errors are always shown. */
  shows(rank: number): boolean {
    const named = rank === LOCAL || listHas(this.event.see, rank) || (this.parts.get(rank)?.seen ?? false);
    return named && !(this.event.quiet && this.running);
  }

  /** The unfinished lines; equal ones only once. */
  live(): LiveLine[] {
    const lines = new Map<string, LiveLine & { ranks: number[] }>();
    for (const rank of [...this.processes.keys()].sort((a, b) => a - b)) {
      for (const stream of streams) {
        for (const text of this.process(rank).screens[stream].live()) {
          const key = `${rank === LOCAL ? LOCAL : ''}${stream}\0${text}`;
          const same = lines.get(key);
          if (!same) {
            lines.set(key, { ranks: [rank], stream, text });
          } else if (same.ranks.at(-1) !== rank) {
            same.ranks.push(rank);
          }
        }
      }
    }
    return [...lines.values()];
  }

  /** Takes an event of the run. */
  apply(event: DipEvent, now: number): void {
    const rank = event.local ? LOCAL : event.rank;
    switch (event.event) {
      case 'rank_state':
        if (rank !== undefined) {
          if (event.state !== 'busy' && event.state !== 'interrupting') {
            this.finishLines(rank, now);
          }
          this.setPart(rank, event);
        }
        break;
      case 'stream':
        this.take(rank, (process, of) => {
          const other = event.name === 'stdout' ? 'stderr' : 'stdout';
          const lines: Output[] = [];
          process.screens[other].settle(lineTo(lines, other)); // a finished bar of the other stream comes before this text
          process.screens[event.name].write(event.text, lineTo(lines, event.name));
          this.timeline.add(of, lines, now);
        });
        break;
      case 'display':
        this.display(rank, event, now);
        break;
      case 'result':
        this.take(rank, (_, of) => {
          this.finishLines(of, now);
          this.timeline.add(of, [rich(event, event.execution_count)], now);
        });
        break;
      case 'error':
        this.take(rank, (_, of) => {
          this.finishLines(of, now);
          this.timeline.add(of, [failure(event)], now);
        });
        break;
      case 'hang':
        this.hang(event, now);
        break;
      case 'run_finished':
        for (const rank of this.processes.keys()) {
          this.finishLines(rank, now);
        }
        this.hangs.clear();
        this.status = event.status;
        this.seconds = event.seconds;
        this.listener.changed(this);
    }
    this.tellLive();
  }

  /** Adds a sentence. */
  note(notice: Notice, rank: number | undefined, now: number): void {
    this.timeline.note(rank === undefined ? [] : [rank], notice, now);
  }

  /** Forgets the first entries. */
  trim(n: number): void {
    this.elided += n;
    for (const { displays } of this.processes.values()) {
      displays.clear();
    }
    this.timeline.trim(n);
  }

  private take(rank: number | undefined, use: (process: Process, rank: number) => void): void {
    if (rank === undefined) {
      return;
    }
    if (!this.parts.has(rank)) {
      this.setPart(rank, { state: 'ready' }); // late output of a process whose part is not known
    }
    const process = this.process(rank);
    if (process.clearing) {
      this.clear(rank, process);
    }
    use(process, rank);
  }

  private display(rank: number | undefined, event: DisplayEvent, now: number): void {
    if (event.clear && event.wait && rank !== undefined) {
      this.process(rank).clearing = true;
      return;
    }
    this.take(rank, (process, of) => {
      if (event.clear) {
        this.clear(of, process);
        return;
      }
      const output = rich(event);
      const id = event.display_id;
      const shown = id === undefined ? undefined : process.displays.get(id);
      if (event.update && shown && id !== undefined) {
        process.displays.set(
          id,
          shown.map((entry) => this.timeline.replace(of, entry, output, now)),
        );
        return;
      }
      const lines: Output[] = [];
      for (const stream of streams) {
        process.screens[stream].settle(lineTo(lines, stream));
      }
      if (id === undefined) {
        this.timeline.add(of, [...lines, output], now);
        return;
      }
      const entry = this.timeline.put(of, [...lines, output], now).at(-1);
      process.displays.set(id, [...(shown ?? []), ...(entry ? [entry] : [])]);
    });
  }

  /** Keeps what ranks wait for. An alarm also becomes a notice, once; its corrections do not. */
  private hang(event: HangEvent, now: number): void {
    const before = this.hangs.get(event.hang);
    if (event.gone || !this.running) {
      this.hangs.delete(event.hang);
    } else {
      this.hangs.set(event.hang, event);
      if (isAlarm(event) && !(before && isAlarm(before))) {
        this.note({ kind: 'notice', level: 'warning', text: `hang? ${event.text}` }, undefined, now);
      }
    }
    this.listener.changed(this);
  }

  private clear(rank: number, process: Process): void {
    process.clearing = false;
    process.displays.clear();
    for (const stream of streams) {
      process.screens[stream].clear();
    }
    this.timeline.clear(rank);
  }

  private finishLines(rank: number, now: number): void {
    const process = this.processes.get(rank);
    const lines: Output[] = [];
    for (const stream of process ? streams : []) {
      process?.screens[stream].finish(lineTo(lines, stream));
    }
    this.timeline.add(rank, lines, now);
  }

  private setPart(rank: number, { state, status, seconds, host, seen }: Omit<Part, 'rank'>): void {
    let part = this.parts.get(rank);
    if (!part) {
      part = { rank, state };
      this.parts.set(rank, part);
      this.ranks += rank === LOCAL ? 0 : 1;
    }
    part.state = state;
    if (status !== undefined) {
      part.status = status;
    }
    if (seconds !== undefined) {
      part.seconds = seconds;
    }
    if (host !== undefined) {
      part.host = host;
    }
    if (seen !== undefined) {
      part.seen = seen;
    }
    this.listener.changed(this);
  }

  private process(rank: number): Process {
    let process = this.processes.get(rank);
    if (!process) {
      process = { screens: { stdout: new Screen(), stderr: new Screen() }, displays: new Map(), clearing: false };
      this.processes.set(rank, process);
    }
    return process;
  }

  private tellLive(): void {
    let some = false;
    for (const { screens } of this.processes.values()) {
      some ||= screens.stdout.open || screens.stderr.open;
    }
    if (some || this.hasLive) {
      this.listener.live(this);
    }
    this.hasLive = some;
  }
}

const streams = ['stdout', 'stderr'] as const;

/** Limits of what is kept. */
const maxRuns = 200;
const maxBytes = 64 << 20; // of all entries, about

/** Runs in the order in which they began. */
export class Runs {
  private readonly runs: Run[] = [];
  private readonly listeners = new Set<RunsListener>();
  private readonly ends = new Set<string>(); // reasons that were told since a run or a pool began
  private readonly queued = new Map<string, string | undefined>(); // by id: who has started a run whose turn has not come
  private readonly left = new Set<Run>(); // go on somewhere, but nobody tells how
  private readonly retold = new Set<string>(); // ids of runs that the past tells of, and that have ended here already
  private readonly goneEarly = new Map<string, string>(); // by id: of runs that the past has not told of yet
  private remembering = false;
  private readonly all: Required<RunsListener>;

  constructor(
    private readonly now: () => number = Date.now,
    private readonly budget = maxBytes,
  ) {
    const tell = <K extends keyof RunsListener>(of: K, ...args: Parameters<Required<RunsListener>[K]>): void => {
      for (const listener of this.listeners) {
        (listener[of] as ((...args: unknown[]) => void) | undefined)?.(...args);
      }
    };
    this.all = {
      changed: (run) => {
        tell('changed', run);
      },
      spliced: (run, index, removed, added) => {
        tell('spliced', run, index, removed, added);
      },
      ranksChanged: (run, entry) => {
        tell('ranksChanged', run, entry);
      },
      waits: (run) => {
        tell('waits', run);
      },
      live: (run) => {
        tell('live', run);
      },
      forgotten: (run) => {
        tell('forgotten', run);
      },
    };
  }

  /** The runs of the model, oldest first. */
  get list(): readonly Run[] {
    return this.runs;
  }

  get(id: string): Run | undefined {
    return this.runs.findLast((run) => run.id === id);
  }

  /** The run that a process (a rank, or `LOCAL`) is in now. */
  current(rank: number): Run | undefined {
    return this.runs.findLast((run) => run.running && run.parts.has(rank) && run.parts.get(rank)?.status === undefined);
  }

  /** Tells a listener of changes until the returned function is called. */
  listen(listener: RunsListener): () => void {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
    };
  }

  /** Whether events tell of the past. Nobody should be notified of it. */
  get past(): boolean {
    return this.remembering;
  }

  apply(event: DipEvent): void {
    const now = this.now();
    if (event.run !== undefined && this.isRetold(event.run, event)) {
      return;
    }
    switch (event.event) {
      case 'run_queued':
        this.queued.set(event.run ?? '', event.by); // its cell and the status bar show that it waits
        break;
      case 'run_started':
        this.ends.clear();
        this.begin(event, now);
        break;
      case 'log':
        this.note(event, { kind: 'notice', level: event.level, text: event.text }, now);
        break;
      case 'pool_state':
        if (event.state === 'starting') {
          this.ends.clear();
        }
        this.end(event, event.reason, now);
        break;
      default: {
        const run = this.get(event.run ?? '');
        if (run?.id) {
          run.apply(event, now);
        }
        if (event.event === 'run_finished') {
          this.queued.delete(event.run ?? '');
        }
        if (event.event === 'rank_state' || (event.event === 'run_finished' && run)) {
          this.end(event, event.reason, now);
        }
      }
    }
    this.bound();
  }

  /** Takes in what a run of an earlier time has told. Nobody is notified of it. */
  recall(events: readonly DipEvent[]): void {
    const was = this.remembering;
    this.remembering = true;
    for (const event of events) {
      this.apply(event);
    }
    this.settle();
    this.remembering = was;
  }

  /** What runs have left is gone: see `Run.gone`. */
  lose(gone: readonly GoneRun[]): void {
    for (const { run: id, gone: why } of gone) {
      const run = this.get(id);
      if (!run) {
        this.goneEarly.set(id, why);
      } else if (run.gone !== why) {
        run.gone = why;
        this.all.changed(run);
      }
    }
  }

  /** Puts waiting output in its place. It waits so that output of ranks from about the same time comes in the order of the ranks. */
  settle(): void {
    for (const run of this.runs) {
      run.timeline.settle();
    }
    this.bound();
  }

  /** The server has ended, but not the sessions: runs go on, and the next server tells how. */
  leave(): void {
    for (const run of this.runs) {
      if (run.running) {
        this.left.add(run);
      }
    }
  }

  /** From now on events tell of the past: what happened while nobody was here to be told, and before that. What is known of it stays as it is. */
  remember(): void {
    this.remembering = true;
  }

  /** The past has been told. Runs that were left, and that it does not tell of, have ended with their session. */
  caughtUp(): void {
    this.settle(); // listeners ask whether it was the past
    this.remembering = false;
    this.retold.clear();
    this.goneEarly.clear();
    this.endAll([...this.left], 'the session has ended, and Python with it');
    this.left.clear();
  }

  /** Ends the runs in progress: the server has ended, and will send no more events. */
  lost(): void {
    this.endAll(this.runs, 'the server has ended, and Python with it');
  }

  /** Forgets runs whose session is not shown any more. */
  forgetWhere(of: (run: Run) => boolean): void {
    this.runs.filter(of).forEach((run) => {
      this.forget(run);
    });
  }

  private endAll(runs: readonly Run[], reason: string): void {
    const now = this.now();
    for (const run of runs.filter((run) => run.running)) {
      const seconds = (now - run.started) / 1000;
      for (const { rank } of [...run.parts.values()].filter((part) => part.status === undefined)) {
        const process = rank === LOCAL ? { local: true } : { rank };
        this.apply({ event: 'rank_state', run: run.id, ...process, state: 'dead', status: 'died', seconds });
      }
      this.apply({ event: 'run_finished', run: run.id, status: 'died', seconds, reason });
    }
  }

  /** Forgets the runs that have ended. */
  clear(): void {
    for (const run of this.runs.filter((run) => !run.running)) {
      this.forget(run);
    }
  }

  /** A run that is known begins anew: its session tells of it from the beginning. */
  private begin(event: RunStartedEvent, now: number): void {
    const known = event.run === undefined ? undefined : this.get(event.run);
    if (known) {
      this.forget(known);
    }
    const began = event.began === undefined ? NaN : Date.parse(event.began);
    const by = this.queued.get(event.run ?? '');
    this.queued.delete(event.run ?? '');
    const run = new Run(event, Number.isNaN(began) ? now : began, this.all, by);
    const gone = this.goneEarly.get(run.id);
    if (gone !== undefined) {
      run.gone = gone;
    }
    this.add(run);
  }

  /** Whether an event tells once more of a run that has ended here. One that died may have died here only. */
  private isRetold(id: string, event: DipEvent): boolean {
    if (this.remembering && event.event === 'run_started') {
      const status = this.get(id)?.status;
      if (status !== undefined && status !== 'died') {
        this.retold.add(id);
      }
    }
    return this.retold.has(id);
  }

  private add(run: Run): Run {
    this.runs.push(run);
    this.all.changed(run);
    const old = this.runs.length > maxRuns ? this.runs.find((r) => !r.running) : undefined;
    if (old) {
      this.forget(old);
    }
    return run;
  }

  private forget(run: Run): void {
    this.runs.splice(this.runs.indexOf(run), 1);
    this.left.delete(run);
    this.all.forgotten(run);
  }

  /** Tells why something ended. A death ends a process, a run and a pool, but is told once. */
  private end(event: DipEvent, reason: string | undefined, now: number): void {
    if (reason && !this.ends.has(reason)) {
      this.ends.add(reason);
      this.note(event, { kind: 'notice', level: 'error', text: reason }, now);
    }
  }

  private note(event: DipEvent, notice: Notice, now: number): void {
    if (this.remembering && event.run === undefined && this.hasNoted(notice.text)) {
      return;
    }
    let run = event.run === undefined ? this.runs.at(-1) : this.get(event.run);
    if (event.run === undefined && run?.id !== '' && !run?.running) {
      run = this.add(new Run({ target: '', see: 'all' }, now, this.all));
    }
    run?.note(notice, event.local ? LOCAL : event.rank, now);
  }

  /** Whether a sentence that belongs to no run is known. */
  private hasNoted(text: string): boolean {
    return this.runs.some(
      ({ id, timeline }) =>
        id === '' && timeline.entries.some(({ output }) => output.kind === 'notice' && output.text === text),
    );
  }

  /** Keeps the model within its limit: first runs that ended long ago lose their output, then long ones the beginning of it. */
  private bound(): void {
    while (this.runs.reduce((n, run) => n + run.timeline.bytes, 0) > this.budget) {
      const full = this.runs.filter((run) => run.timeline.entries.length > 0);
      const oldest = full[0] as Run;
      const n = oldest.timeline.entries.length;
      oldest.trim(full.length > 1 && !oldest.running ? n : Math.ceil(n / 4));
    }
  }
}

function lineTo(lines: Output[], stream: 'stdout' | 'stderr'): (text: string) => void {
  return (text) => {
    lines.push({ kind: 'line', stream, text });
  };
}

function rich(event: DisplayEvent | ResultEvent, count?: number): Output {
  return {
    kind: 'rich',
    data: event.data ?? {},
    ...(event.metadata && { metadata: event.metadata }),
    ...(count !== undefined && { count }),
  };
}

function failure(event: FailureEvent): Output {
  return {
    kind: 'failure',
    ename: event.ename,
    evalue: event.evalue,
    traceback: event.traceback.length > 0 ? event.traceback.join('\n').trimEnd() : `${event.ename}: ${event.evalue}`,
    frames: event.frames ?? [],
    ...(event.path !== undefined && { path: event.path }),
    ...(event.line !== undefined && { line: event.line }),
  };
}
