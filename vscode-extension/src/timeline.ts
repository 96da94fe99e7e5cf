/** The output of a run's processes in one order, with equal output of several ranks folded into one entry. */
import type { Frame } from './generated/server';
import { LOCAL } from './ranks';

/** A line that a process has printed. It is complete in itself, and its only control sequences are colours. */
export interface Line {
  readonly kind: 'line';
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Rich output, or with `count` the value of a cell. */
export interface Rich {
  readonly kind: 'rich';
  /** MIME type → value: a string, base64 for binary types; any JSON value for JSON types. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** The execution count of a value. */
  readonly count?: number;
}

/** An exception that has ended the code. */
export interface Failure {
  readonly kind: 'failure';
  readonly ename: string;
  readonly evalue: string;
  /** Lines, with ANSI colours. */
  readonly traceback: string;
  readonly path?: string;
  readonly line?: number;
  readonly frames: readonly Frame[];
}

/** A sentence for the user. */
export interface Notice {
  readonly kind: 'notice';
  readonly level: 'info' | 'warning' | 'error';
  readonly text: string;
}

export type Output = Line | Rich | Failure | Notice;

/** An output, and the ranks that it came from. */
export interface Entry {
  /** Unique in the window. An entry's output never changes: an update makes another entry. */
  readonly id: number;
  readonly output: Output;
  /** Ascending; `[LOCAL]` alone for the local namespace; none for a notice of the run. */
  readonly ranks: readonly number[];
}

/** Is told of a timeline's changes. Indices count from the first entry that it holds. */
export interface TimelineListener {
  /** At an index, entries were removed, then others inserted. */
  spliced(index: number, removed: number, added: readonly Entry[]): void;
  /** The ranks of an entry have changed. */
  ranksChanged(entry: Entry): void;
  /** Output waits to be put in its place by `settle`. */
  waits(): void;
}

class Item implements Entry {
  private static last = 0;
  readonly id = ++Item.last;
  index = 0; // in the timeline's items

  constructor(
    readonly output: Output,
    public ranks: number[],
    readonly at: number,
    readonly key: string,
  ) {}
}

/** How many bytes of output wait at most to be put in their place. */
const maxWaiting = 1 << 20;

/** How many of a rank's own last outputs may still move down for shared output. */
const maxFloats = 256;

/** Items, and where to put them. */
interface Place {
  readonly index: number;
  readonly items: Item[];
}

/** For how long, in milliseconds, output may still be inserted above what other ranks have put out. */
const frozenAfter = 1000;

/**
 * Keeps the order of each rank's output, and folds equal output of ranks, however far apart they are: an entry gains ranks as they
 * reach it. Output of one rank alone stands after the last entry that the rank shares, beside what other ranks put out in that
 * place. At the end, where nothing is shared yet, the latest output is at the bottom; it moves up once a shared entry after it
 * turns up. So one list serves to show ranks folded, one by one, and side by side.
 *
 * Output of about the same time is put in its place together, lower ranks first: it waits until somebody looks.
 */
export class Timeline {
  private items: Item[] = [];
  private readonly anchors = new Map<number, Item>(); // each rank's last item whose place is fixed
  private readonly floats = new Map<number, Item[]>(); // each rank's own items after that; they move down for shared ones
  private readonly open = new Map<string, Item[]>(); // by key: items that more ranks may still reach, ascending
  private frozen = 0; // nothing is inserted before this index unless order requires it
  private total = 0;
  private readonly waiting = new Map<number, Output[]>(); // by rank: what has no place yet
  private waitingBytes = 0;
  private now = 0;

  constructor(
    private readonly listener: TimelineListener,
    /** The number of ranks. An item that all of them have reached is complete. */
    private readonly ranks: () => number,
  ) {}

  get entries(): readonly Entry[] {
    this.settle();
    return this.items;
  }

  /** About what the entries take, in bytes. */
  get bytes(): number {
    return this.total;
  }

  /** Adds output of a process, in its order. */
  add(rank: number, outputs: readonly Output[], now: number): void {
    if (outputs.length === 0) {
      return;
    }
    const before = this.waiting.get(rank);
    if (before) {
      before.push(...outputs);
    } else {
      this.waiting.set(rank, [...outputs]);
    }
    this.now = now;
    const first = this.waitingBytes === 0;
    this.waitingBytes += outputs.reduce((n, output) => n + bytesOf(output), 0);
    if (this.waitingBytes > maxWaiting) {
      this.settle();
    } else if (first) {
      this.listener.waits();
    }
  }

  /** Puts what waits in its place. */
  settle(): void {
    if (this.waitingBytes === 0) {
      return;
    }
    const waiting = [...this.waiting].sort(([a], [b]) => a - b);
    this.waiting.clear();
    this.waitingBytes = 0;
    for (const [rank, outputs] of waiting) {
      this.put(rank, outputs, this.now);
    }
  }

  /** Adds output of a process without waiting, and returns its entries. */
  put(rank: number, outputs: readonly Output[], now: number): readonly Entry[] {
    this.settle();
    if (rank === LOCAL || this.ranks() === 1) {
      const added = outputs.map((output) => this.item(output, rank, now, rank === LOCAL ? '' : keyOf(output)));
      this.insert([{ index: this.items.length, items: added }]);
      this.anchors.set(rank, added.at(-1) as Item);
      return added;
    }
    this.freeze(now);
    const places: Place[] = [];
    const entries: Item[] = [];
    let anchor = this.anchors.get(rank);
    let floats = this.floats.get(rank) ?? [];
    let waiting: Item[] = [];
    const left: Output[] = [...outputs];
    for (let output = left.shift(); output !== undefined; output = left.shift()) {
      const key = keyOf(output);
      const same = this.find(key, anchor ? anchor.index + 1 : 0, rank);
      if (!same) {
        const item = this.item(output, rank, now, key);
        waiting.push(item);
        if (isOwn(output)) {
          entries.push(item);
        }
        continue;
      }
      const late = floats.filter((item) => item.index > same.index);
      this.take(late);
      if (late.length + waiting.length > 0) {
        places.push({ index: this.before(same, anchor ? anchor.index + 1 : 0, rank), items: [...late, ...waiting] });
      }
      this.join(same, rank);
      if (isOwn(output)) {
        entries.push(same);
      }
      const apart = whatDiffers(same.output, output);
      if (apart) {
        left.unshift(apart);
      }
      anchor = same;
      floats = [];
      waiting = [];
    }
    if (waiting.length > 0) {
      const after = (floats.at(-1) ?? anchor)?.index ?? -1;
      places.push({ index: this.among(after + 1, rank, waiting.length), items: waiting });
      floats = [...floats, ...waiting];
      anchor = floats.at(-maxFloats - 1) ?? anchor;
    }
    this.insert(places);
    this.floats.set(rank, floats.slice(-maxFloats));
    if (anchor) {
      this.anchors.set(rank, anchor);
    }
    return entries;
  }

  /** Adds a notice, of the run or of one process. */
  note(ranks: number[], notice: Notice, now: number): void {
    this.settle();
    this.insert([{ index: this.items.length, items: [this.item(notice, ranks, now, '')] }]);
  }

  /** Replaces an output of a rank by another one. */
  replace(rank: number, entry: Entry, output: Output, now: number): Entry {
    this.settle();
    const key = keyOf(output);
    if (!(entry instanceof Item) || key === entry.key) {
      return entry;
    }
    const old = entry;
    const other = this.sibling(old, key, rank);
    if (other) {
      this.join(other, rank);
      this.move(rank, old, other);
      this.leave(old, rank);
      return other;
    }
    const updated = this.item(output, rank, now, key);
    this.insert([{ index: old.index + 1, items: [updated] }]);
    this.move(rank, old, updated);
    this.leave(old, rank);
    return updated;
  }

  /** Removes the output of a process. */
  clear(rank: number): void {
    this.settle();
    if (!this.anchors.has(rank) && !this.floats.has(rank)) {
      return;
    }
    const kept: Item[] = [];
    const gone: { index: number; n: number }[] = [];
    for (const item of this.items) {
      if (item.output.kind === 'notice' || !item.ranks.includes(rank)) {
        kept.push(item);
      } else if (item.ranks.length > 1) {
        item.ranks = item.ranks.filter((r) => r !== rank);
        this.listener.ranksChanged(item);
        kept.push(item);
      } else {
        const last = gone.at(-1);
        if (last && last.index + last.n === item.index) {
          last.n++;
        } else {
          gone.push({ index: item.index, n: 1 });
        }
        this.close(item);
        this.total -= bytesOf(item.output);
      }
    }
    this.anchors.delete(rank);
    this.floats.delete(rank);
    this.items = kept;
    for (const { index, n } of gone.reverse()) {
      if (index < this.frozen) {
        this.frozen -= Math.min(n, this.frozen - index);
      }
      this.listener.spliced(index, n, []);
    }
    this.reindex(0);
  }

  /** Forgets the first entries. */
  trim(n: number): void {
    this.settle();
    for (const item of this.items.splice(0, n)) {
      this.close(item);
      this.total -= bytesOf(item.output);
      item.index = -1;
    }
    for (const [rank, anchor] of this.anchors) {
      if (anchor.index < 0) {
        this.anchors.delete(rank);
      }
    }
    for (const [rank, floats] of this.floats) {
      this.floats.set(
        rank,
        floats.filter((item) => item.index >= 0),
      );
    }
    this.frozen = Math.max(0, this.frozen - n);
    this.reindex(0);
    this.listener.spliced(0, n, []);
  }

  private item(output: Output, rank: number | number[], now: number, key: string): Item {
    return new Item(output, typeof rank === 'number' ? [rank] : rank, now, key);
  }

  /** The first item from an index on that the rank may join. */
  private find(key: string, after: number, rank: number): Item | undefined {
    const same = this.open.get(key);
    if (!same) {
      return undefined;
    }
    for (let i = lowerBound(same, after); i < same.length; i++) {
      const item = same[i] as Item;
      if (!item.ranks.includes(rank)) {
        return item;
      }
    }
    return undefined;
  }

  /** Where to put a rank's own output between an index and a shared item: ranks stand in ascending order. */
  private before(same: Item, after: number, rank: number): number {
    let index = same.index;
    while (index > after && ((this.items[index - 1] as Item).ranks[0] ?? rank) > rank) {
      index--;
    }
    return index;
  }

  /** Where to put `n` outputs of a rank at the end: after as many of each lower rank. */
  private among(after: number, rank: number, n: number): number {
    const said = new Map<number, number>();
    let index = Math.max(after, this.frozen);
    for (; index < this.items.length; index++) {
      const lowest = (this.items[index] as Item).ranks[0] ?? LOCAL;
      const count = (said.get(lowest) ?? 0) + 1;
      if (lowest > rank || (lowest >= 0 && count > n)) {
        break;
      }
      said.set(lowest, count);
    }
    return index;
  }

  private freeze(now: number): void {
    while (this.frozen < this.items.length && (this.items[this.frozen] as Item).at < now - frozenAfter) {
      this.frozen++;
    }
  }

  /** Puts items into places, which ascend and count without them. */
  private insert(places: readonly Place[]): void {
    const first = places[0]?.index ?? this.items.length;
    const behind = this.items.splice(first);
    let from = first;
    for (const { index, items } of [...places, { index: first + behind.length, items: [] }]) {
      for (; from < index; from++) {
        this.items.push(behind[from - first] as Item);
      }
      for (const item of items) {
        this.items.push(item);
      }
      this.frozen += index < this.frozen ? items.length : 0;
    }
    this.reindex(first);
    const foldable = this.ranks() !== 1;
    for (const { items } of places) {
      for (const item of items) {
        this.total += bytesOf(item.output);
        if (foldable && item.key !== '') {
          this.offer(item);
        }
      }
      this.listener.spliced(items[0]?.index ?? 0, 0, items);
    }
  }

  /** Lets more ranks join an item. */
  private offer(item: Item): void {
    const same = this.open.get(item.key);
    if (same) {
      same.splice(lowerBound(same, item.index), 0, item);
    } else {
      this.open.set(item.key, [item]);
    }
  }

  /** Takes items out; `insert` puts them elsewhere. */
  private take(items: readonly Item[]): void {
    for (const item of [...items].reverse()) {
      this.remove(item);
    }
  }

  private remove(item: Item): void {
    this.close(item);
    this.total -= bytesOf(item.output);
    this.items.splice(item.index, 1);
    this.reindex(item.index);
    if (item.index < this.frozen) {
      this.frozen--;
    }
    this.listener.spliced(item.index, 1, []);
  }

  private join(item: Item, rank: number): void {
    for (const other of item.ranks) {
      this.anchor(other, item);
    }
    item.ranks = [...item.ranks, rank].sort((a, b) => a - b);
    if (item.ranks.length >= this.ranks()) {
      this.close(item);
    }
    this.listener.ranksChanged(item);
  }

  /** Fixes the place of a rank's item, and of those above it. */
  private anchor(rank: number, item: Item): void {
    const floats = this.floats.get(rank) ?? [];
    const i = floats.indexOf(item);
    if (i >= 0) {
      this.anchors.set(rank, item);
      this.floats.set(rank, floats.slice(i + 1));
    }
  }

  /** Takes a rank from an item, and the item away if it was the last one. */
  private leave(item: Item, rank: number): void {
    if (item.ranks.length > 1) {
      item.ranks = item.ranks.filter((r) => r !== rank);
      this.listener.ranksChanged(item);
      return;
    }
    this.remove(item);
  }

  /** The entry to join for an updated output: one that other ranks have updated to the same, with nothing of this rank between. */
  private sibling(old: Item, key: string, rank: number): Item | undefined {
    for (const step of [1, -1]) {
      for (let i = old.index + step, n = this.ranks(); n > 0; i += step, n--) {
        const item = this.items[i];
        if (!item || item.ranks.includes(rank)) {
          break;
        }
        if (item.key === key) {
          return item;
        }
      }
    }
    return undefined;
  }

  /** Lets an item stand for another of a rank. */
  private move(rank: number, from: Item, to: Item): void {
    this.anchor(rank, from);
    if (this.anchors.get(rank) === from) {
      this.anchors.set(rank, to);
    }
  }

  private close(item: Item): void {
    const same = this.open.get(item.key);
    const i = same ? same.indexOf(item) : -1;
    if (same && i >= 0) {
      same.splice(i, 1);
      if (same.length === 0) {
        this.open.delete(item.key);
      }
    }
  }

  private reindex(from: number): void {
    for (let i = from; i < this.items.length; i++) {
      (this.items[i] as Item).index = i;
    }
  }
}

/** The first place in ascending items whose index is not less. */
function lowerBound(items: readonly Item[], index: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((items[middle] as Item).index < index) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** A key: equal outputs have equal keys. */
function keyOf(output: Output): string {
  switch (output.kind) {
    case 'line':
      return output.stream === 'stdout' ? `o${output.text}` : `e${output.text}`;
    case 'rich':
      return `r${output.count ?? ''}\0${digest(JSON.stringify(output.data))}`;
    case 'failure':
      return [
        'f',
        output.ename,
        isOwn(output) ? output.evalue.replace(varying, '#') : output.evalue,
        ...output.frames.flatMap((f) => [f.file, f.line, f.name]),
      ].join('\0');
    case 'notice':
      return '';
  }
}

/** What may differ between failures that count as the same, as on the server: numbers and addresses. */
const varying = /[-+]?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\b(?:nan|inf)\b)/g;

/** How a failure differs from the one that it is folded into: shown below that one. */
class Apart implements Failure {
  readonly kind = 'failure';
  readonly frames: readonly Frame[] = [];
  readonly traceback: string;

  constructor(
    readonly ename: string,
    readonly evalue: string,
  ) {
    this.traceback = `${ename}: ${evalue}`;
  }
}

/** Whether an output is as a process has put it out: not an `Apart`, which is made here. */
function isOwn(output: Output): boolean {
  return !(output instanceof Apart);
}

function whatDiffers(shown: Output, output: Output): Output | undefined {
  if (shown.kind !== 'failure' || output.kind !== 'failure' || shown.evalue === output.evalue) {
    return undefined;
  }
  const before = shown.evalue.split('\n');
  const line = output.evalue.split('\n').find((text, i) => text !== before[i]);
  return new Apart(output.ename, line ?? output.evalue);
}

/** A hash that tells texts apart, which may be megabytes long. */
function digest(text: string): string {
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b + c, 0xc2b2ae35) ^ (b >>> 15);
  }
  return `${text.length}:${(a >>> 0).toString(36)}:${(b >>> 0).toString(36)}`;
}

const entryBytes = 200; // what an entry takes beside its output

/** About what an output takes. */
export function bytesOf(output: Output): number {
  switch (output.kind) {
    case 'line':
    case 'notice':
      return entryBytes + output.text.length;
    case 'failure':
      return entryBytes + output.traceback.length + output.evalue.length;
    case 'rich':
      return Object.values(output.data).reduce(
        (n: number, value) => n + (typeof value === 'string' ? value.length : JSON.stringify(value).length),
        entryBytes,
      );
  }
}
