/**
 * What the pools and local namespaces do, as the server tells it when it is asked (`dip.status`). Events only say when to ask: they
 * do not name the folder that they are about.
 */
import type { DipEvent, StatusReply, WorkspaceStatus } from '../generated/server';

/** What a process takes of its machine; null where unknown. */
export interface Memory {
  /** Bytes. */
  host: number | null;
  /** Bytes. */
  gpu: number | null;
  /** For how much of the last moment its GPU was busy, in percent, whoever kept it busy. */
  load: number | null;
  /** The same, when it was asked for before, the earliest first. */
  past: readonly Sample[];
}

export type Sample = Omit<Memory, 'past'>;

/** How many samples are kept of a process. They are taken while somebody looks. */
const maxPast = 24;

/** A process, among those of all hosts. */
export interface Placed {
  host: string;
  pid: number;
}

function placeOf({ host, pid }: Placed): string {
  return `${pid} ${host}`;
}

/** What has changed: what the processes do, or only how much memory they take. */
export type Change = 'status' | 'memory';

export type Ask = (memory: boolean) => Promise<StatusReply>;

/** How long events are collected before the server is asked, in milliseconds. */
const gather = 100;

/** Whether an event may have changed what `dip.status` answers. A sentence of the session may be about one of its hosts. */
function matters({ event, run }: DipEvent): boolean {
  return (
    ['run_queued', 'run_started', 'rank_state', 'pool_state', 'run_finished', 'hang'].includes(event) ||
    (event === 'log' && run === undefined)
  );
}

export class Pools {
  private reply: StatusReply = { workspaces: [] };
  private repliedAt = 0;
  private readonly memoryOf = new Map<string, Memory>(); // by host and pid
  private readonly listeners = new Set<(what: Change) => void>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking = false;
  private again = false;
  private disposed = false;

  constructor(
    private readonly ask: Ask,
    private readonly clock: () => number = Date.now,
  ) {}

  get workspaces(): readonly WorkspaceStatus[] {
    return this.reply.workspaces;
  }

  /** Seconds since the server's last answer. A run in progress has taken that much longer. */
  get age(): number {
    return (this.clock() - this.repliedAt) / 1000;
  }

  /** The memory that the process had when it was last asked for. */
  memory({ host, pid }: Placed): Memory | undefined {
    return this.memoryOf.get(placeOf({ host, pid }));
  }

  /** Calls a listener after each change, until what it returns is disposed of. */
  onChange(listener: (what: Change) => void): { dispose: () => void } {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  }

  /** Takes an event of the server. */
  apply(event: DipEvent): void {
    if (matters(event)) {
      this.refresh();
    }
  }

  /** Asks the server after a short delay. Requests during that time become one, and there is never more than one at a time. */
  refresh(): void {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      void this.update();
    }, gather);
  }

  /** Asks for the processes' memory, which takes longer. */
  async refreshMemory(): Promise<void> {
    const reply = await this.ask(true).catch(() => undefined);
    if (!reply || this.disposed) {
      return;
    }
    const before = new Map(this.memoryOf);
    this.memoryOf.clear();
    const note = (process: Placed, now: Sample): void => {
      const place = placeOf(process);
      const { past = [], ...last } = before.get(place) ?? {};
      this.memoryOf.set(place, { ...now, past: 'host' in last ? [...past, last].slice(-maxPast) : [] });
    };
    for (const { pool } of reply.workspaces) {
      for (const rank of pool.ranks) {
        note(rank, { host: rank.host_bytes ?? null, gpu: rank.gpu_bytes ?? null, load: rank.gpu_load ?? null });
      }
      if (pool.local) {
        note(pool.local, { host: pool.local.host_bytes ?? null, gpu: null, load: null });
      }
    }
    this.tell('memory');
  }

  /** Forgets everything: the server has ended, and with it all that it had started. */
  clear(): void {
    this.reply = { workspaces: [] };
    this.memoryOf.clear();
    this.tell('status');
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.timer);
    this.listeners.clear();
  }

  private async update(): Promise<void> {
    this.asking = true;
    const reply = await this.ask(false).catch(() => undefined);
    this.asking = false;
    if (this.disposed) {
      return;
    }
    if (reply) {
      this.reply = reply;
      this.repliedAt = this.clock();
      this.tell('status');
    }
    if (this.again) {
      this.again = false;
      this.refresh();
    }
  }

  private tell(what: Change): void {
    for (const listener of this.listeners) {
      listener(what);
    }
  }
}
