/**
 * Which session each folder of the window has, as the server tells it (`dip/session`). A session may outlive the server, and go on when
 * the next server comes.
 */
import type { SessionParams } from '../generated/server';

/** A folder's session. Without a server nobody tells how it goes on: the window is detached from it. */
export type Tie = Readonly<Omit<SessionParams, 'state'> & { state: SessionParams['state'] | 'detached' }>;

/** Is told of changes. Every method is optional. */
export interface SessionsListener {
  /** A folder has another session, or something of one has changed. */
  changed?(): void;
  /** A session takes the place of another one, whose runs are not shown any more. */
  replaced?(folder: string): void;
  /** A session begins to tell its past. If `again`, it has told some of it before. */
  past?(again: boolean): void;
  /** What is told from now on happens now. */
  present?(): void;
  /** The server has ended, and only the sessions that outlive it, if there are any, go on. */
  left?(outlived: boolean): void;
}

export class Sessions {
  private readonly ties = new Map<string, Tie>(); // by folder
  private readonly pasts = new Set<string>(); // folders whose session tells its past
  private left = false; // since then no session has told its past
  private readonly listeners = new Set<SessionsListener>();

  /** The session of a folder, or without a folder the only one. Undefined if there is none yet. */
  of(folder: string | undefined): Tie | undefined {
    if (folder !== undefined) {
      return this.ties.get(folder);
    }
    return this.ties.size === 1 ? [...this.ties.values()][0] : undefined;
  }

  /** Whether a session would go on if the server ended. */
  get outlive(): boolean {
    return [...this.ties.values()].some(outlives);
  }

  /** Tells a listener of changes until what it returns is disposed of. */
  listen(listener: SessionsListener): { dispose: () => void } {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  }

  /** Takes what the server tells of a folder's session. */
  apply(folder: string, now: Readonly<SessionParams>): void {
    const before = this.ties.get(folder);
    this.ties.set(folder, now);
    const same = before?.since === now.since; // its name may change
    const replaced = before !== undefined && !same && isAttached(before) && outlives(now);
    if (replaced) {
      this.tell('replaced', folder);
    }
    if (now.past) {
      if (!this.pasts.has(folder)) {
        this.pasts.add(folder);
        this.tell('past', this.left || same || replaced);
        this.left = false;
      }
    } else {
      this.pasts.delete(folder);
      if (this.pasts.size === 0) {
        this.tell('present');
      }
    }
    this.tell('changed');
  }

  /** The server has ended. */
  leave(): void {
    if (this.pasts.size > 0) {
      this.pasts.clear();
      this.tell('present');
    }
    const outlived = this.outlive;
    this.left = outlived;
    for (const [folder, tie] of this.ties) {
      if (outlives(tie)) {
        this.ties.set(folder, { ...tie, state: 'detached' });
      } else {
        this.ties.delete(folder);
      }
    }
    this.tell('left', outlived);
    this.tell('changed');
  }

  private tell<K extends keyof SessionsListener>(of: K, ...args: Parameters<Required<SessionsListener>[K]>): void {
    for (const listener of this.listeners) {
      (listener[of] as ((...args: unknown[]) => void) | undefined)?.(...args);
    }
  }
}

function isAttached({ state }: Tie): boolean {
  return state === 'attached' || state === 'reattached';
}

/** Whether a session goes on without a server. */
function outlives(tie: Tie): boolean {
  return isAttached(tie) || tie.state === 'detached';
}
