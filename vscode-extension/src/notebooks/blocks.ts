/** What a run has put out, as the outputs that a cell of a notebook has. It needs no window. */
import { hostsOf, listOn, LOCAL } from '../ranks';
import type { Run } from '../runs';
import { bytesOf, type Entry, type Failure, type Output } from '../timeline';

/** One output of a cell. */
export type Block =
  | { readonly kind: 'text'; readonly stream: 'stdout' | 'stderr'; readonly text: string }
  /** MIME type → value, as in `Rich`. */
  | {
      readonly kind: 'rich';
      readonly data: Readonly<Record<string, unknown>>;
      readonly metadata?: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'failure'; readonly name: string; readonly message: string; readonly stack: string };

/** A block, and which entries it has. */
interface Placed {
  readonly block: Block;
  readonly first: number;
  readonly next: number;
  readonly bytes: number;
}

/** How many lines are one output: a new line makes VS Code draw all of its output anew. */
const maxLines = 200;

/** How much of a run a cell keeps. When it is more, half of that is kept. */
const maxEntries = 5000;
const maxBytes = 8 << 20; // about

/** The blocks of a run. Those before the first change stay the same objects. */
export class Blocks {
  private placed: Placed[] = [];
  private changedFrom = 0;
  private leftOut = 0; // so many entries at the beginning

  constructor(
    private readonly run: Run,
    /** A traceback with the places in cells of notebooks as people know them. */
    private readonly named: (traceback: string) => string = (traceback) => traceback,
  ) {}

  /** The entries from an index on have changed. */
  changed(from: number): void {
    this.changedFrom = Math.min(this.changedFrom, from);
  }

  /** An entry's ranks have changed. */
  entryChanged(entry: Entry): void {
    const index = this.run.timeline.entries.lastIndexOf(entry);
    if (index >= 0) {
      this.changed(index);
    }
  }

  /** The run has forgotten its first entries, or what it shows has changed. */
  anew(): void {
    this.leftOut = 0;
    this.changedFrom = 0;
  }

  /** All blocks as they are now. */
  take(): readonly Block[] {
    const { entries } = this.run.timeline;
    if (this.changedFrom < Infinity) {
      this.make(entries);
      this.changedFrom = Infinity;
      if (
        this.placed.reduce((sum, { bytes }) => sum + bytes, 0) > maxBytes ||
        entries.length - this.leftOut > maxEntries
      ) {
        this.leave(entries);
      }
    }
    const left = this.leftOut + this.run.elided;
    return [
      ...(left > 0
        ? [text([{ stream: 'stdout', text: `… ${left} outputs are left out here; the journal has them` }])]
        : []),
      ...this.placed.map(({ block }) => block),
      ...this.live(),
    ];
  }

  /** Leaves out the first entries, so that half of what may be kept is. */
  private leave(entries: readonly Entry[]): void {
    let from = entries.length;
    for (let bytes = 0; from > this.leftOut && entries.length - from < maxEntries / 2; from--) {
      bytes += bytesOf((entries[from - 1] as Entry).output);
      if (bytes > maxBytes / 2) {
        break;
      }
    }
    this.leftOut = from;
    this.placed = [];
    this.make(entries);
  }

  /** Makes the blocks from the first change on. One of text that ends there may take more. */
  private make(entries: readonly Entry[]): void {
    const kept = this.placed.findIndex(({ next }) => next >= this.changedFrom);
    const from = Math.max(
      this.leftOut,
      kept < 0 ? (this.placed.at(-1)?.next ?? 0) : (this.placed[kept] as Placed).first,
    );
    this.placed.length = kept < 0 ? this.placed.length : kept;
    let lines: Line[] = [];
    let bytes = 0;
    let first = from;
    const put = (next: number, block?: Block): void => {
      if (lines.length > 0) {
        this.placed.push({ block: text(lines), first, next, bytes });
      }
      if (block) {
        this.placed.push({ block, first: next, next: next + 1, bytes: bytesOf((entries[next] as Entry).output) });
      }
      lines = [];
      bytes = 0;
      first = block ? next + 1 : next;
    };
    for (let i = from; i < entries.length; i++) {
      const entry = entries[i] as Entry;
      const { output } = entry;
      const label = this.label(entry.ranks);
      if (!this.shows(entry)) {
        continue;
      }
      const plain = plainText(output);
      if (plain !== undefined) {
        const stream = output.kind === 'line' ? output.stream : 'stdout';
        lines.push({ stream, text: plain.replaceAll(/^/gm, label) });
        bytes += bytesOf(output);
        if (lines.length >= maxLines) {
          put(i + 1);
        }
      } else if (output.kind === 'rich') {
        if (label !== '') {
          lines.push({ stream: 'stdout', text: label.trimEnd() });
        }
        put(i, { kind: 'rich', data: output.data, ...(output.metadata && { metadata: output.metadata }) });
      } else if (output.kind === 'failure') {
        put(i, this.failure(output, label));
      }
    }
    put(entries.length);
  }

  private shows({ output, ranks }: Entry): boolean {
    return output.kind === 'failure' || output.kind === 'notice' || ranks.some((rank) => this.run.shows(rank));
  }

  /** What stands before an output of ranks: `[0-2] `; nothing where all is of one process. */
  private label(ranks: readonly number[]): string {
    if (this.run.parts.size <= 1 || ranks.length === 0 || ranks[0] === LOCAL) {
      return '';
    }
    return `[${listOn(ranks, hostsOf([...this.run.parts.values()]))}] `;
  }

  private failure({ ename, evalue, traceback }: Failure, label: string): Block {
    return {
      kind: 'failure',
      name: ename,
      message: evalue,
      stack: (label === '' ? '' : `${label.trimEnd()}\n`) + this.named(traceback),
    };
  }

  /** The unfinished lines, such as progress bars. */
  private live(): Block[] {
    const lines = this.run
      .live()
      .filter(({ ranks }) => ranks.some((rank) => this.run.shows(rank)))
      .map(({ ranks, stream, text }) => ({ stream, text: this.label(ranks) + text }));
    return lines.length > 0 ? [text(lines)] : [];
  }
}

interface Line {
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Lines of both streams are one output, in their order: it counts as errors if all of them are. */
function text(lines: readonly Line[]): Block {
  const stream = lines.every(({ stream }) => stream === 'stderr') ? 'stderr' : 'stdout';
  return { kind: 'text', stream, text: lines.map(({ text }) => `${text}\n`).join('') };
}

/** An output that is nothing but text. */
function plainText(output: Output): string | undefined {
  switch (output.kind) {
    case 'line':
    case 'notice':
      return output.text;
    case 'rich': {
      const { 'text/plain': plain, ...others } = output.data;
      return typeof plain === 'string' && Object.keys(others).length === 0 ? plain : undefined;
    }
    case 'failure':
      return undefined;
  }
}
