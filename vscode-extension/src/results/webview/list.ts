/** The virtual list of rows: only those in view are in the page. */
import { Heights } from './heights';
import { h } from './dom';
import { type Row, rowKey } from './rows';

export interface ListOptions {
  readonly render: (row: Row) => HTMLElement;
  /** When this changes, the row's element is made anew. */
  readonly stamp: (row: Row) => unknown;
  /** Called for a row in view whose element is kept. */
  readonly keep: (row: Row, element: HTMLElement) => void;
  /** How high a row probably is, in pixels. */
  readonly estimate: (row: Row) => number;
  /** Called when the list starts or stops following new rows. */
  readonly following: (follows: boolean) => void;
  /** Called with the row at the top, how many pixels of it are above the edge, and how many are from the edge to the next head, if that is near. */
  readonly topped: (row: Row | undefined, above: number, next: number) => void;
}

interface Shown {
  readonly element: HTMLElement;
  readonly stamp: unknown;
  row: number;
}

const maxHead = 40; // how high a head is at most, in pixels

const more = 12; // rows that are there above and below those in sight

export class List {
  /** What scrolls. */
  readonly element: HTMLElement;
  private readonly content: HTMLElement;
  private rows: readonly Row[] = [];
  private readonly heights = new Heights();
  private readonly measured = new Map<string, number>(); // heights of rows, where they are not as estimated
  private shown = new Map<string, Shown>();
  private follows = true;
  private scrolled = 0; // where it was scrolled to by us
  private drawing = 0;
  private readonly observer: ResizeObserver;
  private width = 0;

  constructor(private readonly options: ListOptions) {
    this.content = h('div', { class: 'content' });
    this.element = h(
      'div',
      { class: 'list', tabindex: '0', role: 'region', 'aria-label': 'Results of runs' },
      this.content,
    );
    this.element.addEventListener('scroll', () => {
      this.onScroll();
    });
    this.observer = new ResizeObserver(() => {
      this.draw();
    });
    new ResizeObserver(() => {
      if (this.element.clientWidth !== this.width) {
        this.width = this.element.clientWidth;
        this.restyle();
      }
      this.draw();
    }).observe(this.element);
  }

  /** Takes new rows. Those before `from` have not changed. */
  update(rows: readonly Row[], from: number): void {
    this.rows = rows;
    this.heights.replaceFrom(from, rows.length - from, (row) => this.height(row));
    this.draw();
  }

  /** Makes all rows anew, because their looks have changed. */
  refresh(): void {
    for (const { element } of this.shown.values()) {
      element.remove();
    }
    this.shown.clear();
    this.restyle();
    this.draw();
  }

  get isFollowing(): boolean {
    return this.follows;
  }

  /** Goes to the end and stays there, or stops doing so. */
  follow(follows: boolean): void {
    if (follows !== this.follows) {
      this.follows = follows;
      this.options.following(follows);
    }
    if (follows) {
      this.draw();
    }
  }

  /** Brings a row to the top, as far as there is something below it, and stops following. */
  goTo(row: number): void {
    this.follow(false);
    // The rows above it have the heights that they are thought to have until they are drawn, so it is drawn before the place is right.
    for (let round = 0; round < 3; round++) {
      this.element.scrollTop = this.heights.top(row);
      this.scrolled = this.element.scrollTop;
      this.drawNow();
    }
  }

  /** Draws in the next frame. */
  draw(): void {
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      this.drawNow();
    });
  }

  private height(row: number): number {
    const it = this.rows[row] as Row;
    return (this.measured.size > 0 ? this.measured.get(rowKey(it)) : undefined) ?? this.options.estimate(it);
  }

  /** Forgets how high rows were. */
  private restyle(): void {
    this.measured.clear();
    this.heights.replaceFrom(0, this.rows.length, (row) => this.height(row));
  }

  private onScroll(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.element;
    if (Math.abs(scrollTop - this.scrolled) > 1) {
      this.follow(scrollTop + clientHeight >= scrollHeight - 4);
    }
    this.scrolled = scrollTop;
    this.draw();
  }

  private drawNow(): void {
    // A measured row moves the rows below it, so other rows may be in view.
    for (let round = 0; round < 4 && this.drawOnce(); round++);
    const top = this.element.scrollTop;
    const row = this.heights.at(top + 1);
    this.options.topped(
      this.rows[row],
      this.rows.length > 0 ? top - this.heights.top(row) : 0,
      this.nextHead(row, top),
    );
  }

  /** How far below the edge the next head is, in pixels; Infinity if it is farther than a head is high. */
  private nextHead(row: number, edge: number): number {
    for (let i = row + 1; i < this.rows.length; i++) {
      const from = this.heights.top(i) - edge;
      if (from > maxHead) {
        break;
      }
      if (this.rows[i]?.kind === 'head') {
        return from;
      }
    }
    return Infinity;
  }

  /** Puts the rows in view into the page; true if their heights are not as estimated. */
  private drawOnce(): boolean {
    const { element, heights } = this;
    const view = element.clientHeight;
    if (view === 0) {
      return false;
    }
    const bottom = Math.max(0, heights.total - view);
    const top = this.follows ? bottom : Math.min(element.scrollTop, bottom);
    const [first, end] = heights.between(top, top + view, more);
    this.place(first, end);
    this.pad(first, end);
    if (this.follows) {
      this.scrollTo(bottom); // only now is there a place to scroll to
    }
    const anchor = heights.at(top);
    let moved = 0;
    let differs = false;
    for (const { element: row, row: index } of this.shown.values()) {
      const height = row.getBoundingClientRect().height;
      const added = height - heights.height(index);
      if (Math.abs(added) > 0.5) {
        heights.set(index, height);
        this.measured.set(rowKey(this.rows[index] as Row), height);
        differs = true;
        moved += index < anchor ? added : 0;
      }
    }
    if (differs) {
      this.pad(first, end);
      this.scrollTo(this.follows ? heights.total - view : element.scrollTop + moved);
    }
    return differs;
  }

  private scrollTo(top: number): void {
    if (Math.abs(this.element.scrollTop - top) > 0.5) {
      this.element.scrollTop = top;
    }
    this.scrolled = this.element.scrollTop;
  }

  /** Leaves room for the rows that are not in the page. */
  private pad(first: number, end: number): void {
    const { heights, content } = this;
    const [top, bottom] = first < end && this.shown.size > 0 ? [first, end] : [0, 0];
    content.style.paddingTop = `${heights.top(top)}px`;
    content.style.paddingBottom = `${heights.total - heights.top(bottom)}px`;
  }

  private place(first: number, end: number): void {
    const next = new Map<string, Shown>();
    let before: Element | null = null;
    const elements: HTMLElement[] = [];
    for (let i = first; i < end; i++) {
      const row = this.rows[i] as Row;
      const key = rowKey(row);
      const stamp = this.options.stamp(row);
      let shown = this.shown.get(key);
      if (shown && shown.stamp === stamp) {
        shown.row = i;
        this.options.keep(row, shown.element);
      } else {
        shown?.element.remove();
        shown = { element: this.options.render(row), stamp, row: i };
        this.observer.observe(shown.element);
      }
      next.set(key, shown);
      elements.push(shown.element);
    }
    for (const [key, { element }] of this.shown) {
      if (!next.has(key)) {
        this.observer.unobserve(element);
        element.remove();
      }
    }
    this.shown = next;
    for (const element of elements) {
      // Moved only if it does not stand there, so that selections and frames stay.
      const at: Element | null = before ? before.nextElementSibling : this.content.firstElementChild;
      if (at !== element) {
        this.content.insertBefore(element, at);
      }
      before = element;
    }
  }
}
