/** The text of an output channel: it grows at its end, its last lines may be live, and its size is bounded. */

/** Where a page is shown. The cost of a call is proportional to its text. */
export interface Sink {
  append(text: string): void;
  /** Shows the text in place of all that was shown. */
  replace(text: string): void;
}

export interface PageLimits {
  /** How many characters are kept at most. Beyond that, the older half is left out. */
  kept: number;
  /** How many characters may come at once, and per second in the long run: nobody reads faster, and editors have to keep up. */
  burst: number;
  perSecond: number;
}

const defaults: PageLimits = { kept: 1 << 20, burst: 1 << 20, perSecond: 128 << 10 };

/** How often live lines are drawn, in milliseconds, at most. */
const liveEvery = 200;

/** How many characters of replaced text a second are worth live lines. */
const replacedPerSecond = 256 << 10;

/**
 * Lines keep their colour codes here; the sink gets them without. Where something is left out, a line says so, and where all of it is.
 *
 * It has no clock: it is told the time, in milliseconds.
 */
export class Page {
  private lines: string[] = []; // final, as shown, colours included
  private size = 0; // of lines
  private pending: string[] = []; // final, not shown
  private pendingSize = 0;
  private live: readonly string[] = [];
  private drawn: readonly string[] = []; // the live lines that are shown
  private drawnAt = 0;
  private liveSince = 0;
  private tokens: number;
  private refilled = 0;
  private readonly limits: PageLimits;

  constructor(
    private readonly sink: Sink,
    /** A text without its colour codes. */
    private readonly plain: (text: string) => string,
    /** Where all of the output is, for people. */
    private readonly pointer: () => string,
    limits: Partial<PageLimits> = {},
  ) {
    this.limits = { ...defaults, ...limits };
    this.tokens = this.limits.burst;
  }

  /** All that is shown. */
  get shown(): string {
    return this.text(this.lines) + this.text(this.drawn);
  }

  /** A line as it is shown, counted from 0, with its colour codes. */
  line(index: number): string | undefined {
    return index < this.lines.length ? this.lines[index] : this.drawn[index - this.lines.length];
  }

  /** Adds final lines. */
  add(lines: readonly string[]): void {
    for (const line of lines) {
      this.pending.push(line);
      this.pendingSize += line.length + 1;
    }
    if (this.pendingSize > 2 * this.limits.burst) {
      this.leaveOut(this.limits.burst);
    }
  }

  /** Forgets everything. */
  empty(): void {
    this.lines = [];
    this.pending = [];
    this.size = this.pendingSize = 0;
    this.live = this.drawn = [];
    this.replace();
  }

  /** Sets the lines that are not final. */
  setLive(lines: readonly string[], now: number): void {
    if (this.live.length === 0) {
      this.liveSince = now;
    }
    this.live = lines;
  }

  /**
   * Shows what there is. Live lines are shown only while somebody is looking, since they replace the whole text each time. Returns
   * after how many milliseconds to call it again; undefined: not before something comes.
   */
  flush(now: number, looking: boolean): number | undefined {
    this.tokens = Math.min(this.limits.burst, this.tokens + ((now - this.refilled) / 1000) * this.limits.perSecond);
    this.refilled = now;
    const live = looking ? this.live : [];
    if (this.drawn.length === 0 && live.length === 0) {
      this.append();
      return undefined;
    }
    if (this.pending.length === 0 && same(live, this.drawn)) {
      return undefined;
    }
    const wait = this.drawnAt + this.patience(now) - now;
    if (wait > 0 && live.length > 0) {
      return wait;
    }
    this.settle();
    this.drawn = live;
    this.drawnAt = now;
    this.shorten();
    this.replace();
    return undefined;
  }

  /** How long to wait between replacements of the text: longer for a longer text, and the longer they have been going on. */
  private patience(now: number): number {
    return Math.max(liveEvery, (this.size / replacedPerSecond) * 1000, (now - this.liveSince) / 200);
  }

  private append(): void {
    const text = this.settle();
    if (this.shorten()) {
      this.replace();
    } else if (text !== '') {
      this.sink.append(text);
    }
  }

  /** Moves the pending lines to the shown ones, and returns them as text. */
  private settle(): string {
    if (this.pendingSize > this.tokens) {
      this.leaveOut(this.tokens);
    }
    const { pending } = this;
    this.tokens -= this.pendingSize;
    this.size += this.pendingSize;
    for (const line of pending) {
      this.lines.push(line);
    }
    this.pending = [];
    this.pendingSize = 0;
    return this.text(pending);
  }

  /** Leaves out the middle of the pending lines, so that about so many characters remain. */
  private leaveOut(left: number): void {
    const half = Math.max(left, 4096) / 2;
    const head = upTo(this.pending, half);
    const tail = this.pending.length - upTo(this.pending.toReversed(), half);
    if (tail <= head) {
      return;
    }
    const gone = this.pending.slice(head, tail);
    const note = `… ${amount(gone)} left out here: it came too fast to be shown. ${this.pointer()}`;
    this.pending.splice(head, tail - head, note);
    this.pendingSize += note.length + 1 - sizeOf(gone);
  }

  /** Leaves out the older half if there is too much. */
  private shorten(): boolean {
    if (this.size <= this.limits.kept) {
      return false;
    }
    const kept = upTo(this.lines.toReversed(), this.limits.kept / 2);
    const note = `… ${amount(this.lines.slice(0, -kept))} of older output left out here. ${this.pointer()}`;
    this.lines = [note, ...this.lines.slice(-kept)];
    this.size = sizeOf(this.lines);
    return true;
  }

  private replace(): void {
    this.sink.replace(this.shown);
  }

  private text(lines: readonly string[]): string {
    return lines.length === 0 ? '' : this.plain(lines.join('\n')) + '\n';
  }
}

/** How many lines have no more than so many characters; at least one. */
function upTo(lines: readonly string[], size: number): number {
  let n = 0;
  for (let sum = 0; n < lines.length; n++) {
    sum += (lines[n] as string).length + 1;
    if (sum > size) {
      break;
    }
  }
  return Math.max(n, 1);
}

function sizeOf(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + line.length + 1, 0);
}

/** How much text is in lines, for people. */
function amount(lines: readonly string[]): string {
  const size = sizeOf(lines);
  return size < 1e6 ? `${Math.ceil(size / 1e3)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}
