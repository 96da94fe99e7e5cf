/** The page of a table: a part of it, of one process, with what differs on others marked. */
import type { Table, TablePage } from '../../generated/server';
import { LOCAL, whose } from '../../ranks';
import { type FromTable, isToTable, type TablePart, type ToTable } from '../messages';
import { button, h } from './dom';

declare function acquireVsCodeApi(): { postMessage(message: FromTable): void };

const vscode = acquireVsCodeApi();
const rowsShown = 100;
const columnsShown = 30;
const typing = 300; // how long nobody types before a filter counts, in milliseconds

type Found = Table & { readonly page: TablePage };

class TableView {
  private readonly who = h('select', { 'aria-label': 'Whose values', title: 'Whose values' });
  private readonly summary = h('span', { class: 'summary', role: 'status' });
  private readonly head = h('tr');
  private readonly body = h('tbody');
  private readonly places = h('span', { class: 'places' });
  private readonly compare = button('Mark where ranks differ', '≠ Ranks', () => {
    this.comparing = !this.comparing;
    this.ask({});
  });
  private readonly pagers: Readonly<Record<'up' | 'down' | 'left' | 'right', HTMLButtonElement>>;
  private part: TablePart = { rows: rowsShown, columns: columnsShown };
  private comparing = true;
  private tables: readonly Found[] = [];
  private asked = 0;
  private timer = 0;

  constructor() {
    const go = (label: string, sign: string, to: () => Partial<TablePart>): HTMLButtonElement =>
      button(label, sign, () => {
        this.ask(to());
      });
    this.pagers = {
      up: go('Rows before', '↑', () => ({ start: Math.max(0, (this.part.start ?? 0) - rowsShown) })),
      down: go('Next rows', '↓', () => ({ start: (this.part.start ?? 0) + rowsShown })),
      left: go('Columns before', '←', () => ({
        first_column: Math.max(0, (this.part.first_column ?? 0) - columnsShown),
      })),
      right: go('Next columns', '→', () => ({ first_column: (this.part.first_column ?? 0) + columnsShown })),
    };
    const { up, down, left, right } = this.pagers;
    document.body.classList.add('enlarged');
    document.body.append(
      h(
        'div',
        { class: 'toolbar', role: 'toolbar', 'aria-label': 'Table' },
        this.who,
        this.compare,
        up,
        down,
        left,
        right,
        this.places,
        button('Read the values again', '↻', () => {
          this.ask({});
        }),
        button('Copy these cells, separated by tabs', 'Copy', () => {
          this.copy();
        }),
        this.summary,
      ),
      h(
        'main',
        { class: 'grid', tabindex: '0', 'aria-label': 'Cells' },
        h('table', {}, h('thead', {}, this.head), this.body),
      ),
    );
    this.who.addEventListener('change', () => {
      this.ask({});
    });
    window.addEventListener('message', ({ data, origin }: MessageEvent<unknown>) => {
      if (origin === window.origin && isToTable(data) && data.number === this.asked) {
        this.take(data);
      }
    });
    this.ask({});
  }

  /** Asks for another part. */
  private ask(change: Partial<TablePart>): void {
    this.part = { ...this.part, ...change };
    const only = this.who.value === '' || this.comparing ? {} : { rank: Number(this.who.value) };
    vscode.postMessage({ type: 'part', number: ++this.asked, part: { ...this.part, ...only } });
  }

  private take({ tables, problem }: ToTable): void {
    const found = tables.filter((table): table is Found => table.page?.found === true);
    if (this.comparing || this.tables.length === 0) {
      const chosen = this.who.value;
      const ranks = found.map(({ rank }) => rank);
      this.who.replaceChildren(...ranks.map((rank) => h('option', { value: String(rank) }, name(rank))));
      this.who.value = ranks.some((rank) => String(rank) === chosen) ? chosen : String(ranks[0] ?? '');
      this.compare.hidden = ranks.length < 2;
    }
    this.compare.setAttribute('aria-pressed', String(this.comparing));
    this.tables = found;
    const shown = found.find(({ rank }) => String(rank) === this.who.value);
    if (!shown) {
      const busy = tables.filter((table) => table.busy).map(({ rank }) => rank);
      const reason = tables.find(({ page }) => page?.reason)?.page?.reason;
      this.summary.textContent =
        problem ??
        (busy.length > 0
          ? `${whose(busy, () => undefined)}: busy. Read again when the run has ended.`
          : `There is nothing to show: ${reason ?? 'no process that lives has it'}`);
      return;
    }
    this.show(shown.page);
  }

  private show(page: TablePage): void {
    const { shape = [], total = 0, start = 0, columns = 0, first_column: first = 0, names = [] } = page;
    const { up, down, left, right } = this.pagers;
    up.disabled = start === 0;
    down.disabled = start + rowsShown >= total;
    left.disabled = first === 0;
    right.disabled = first + columnsShown >= columns;
    this.showHead(names, first);
    this.showPlaces(shape);
    const differing = this.showBody(page);
    const rows =
      total === 0
        ? 'no rows'
        : `rows ${count(start + 1)}–${count(Math.min(total, start + rowsShown))} of ${count(total)}`;
    this.summary.textContent = [
      `${(page.type ?? '').split('.').at(-1) ?? ''} ${shape.map(count).join(' × ')}`,
      rows,
      ...(this.tables.length > 1 && this.comparing
        ? [
            differing === 0
              ? 'ranks agree here'
              : differing === 1
                ? '1 cell differs'
                : `${count(differing)} cells differ`,
          ]
        : []),
    ].join(' · ');
  }

  private showHead(names: readonly { name: string; dtype: string }[], first: number): void {
    const stamp = JSON.stringify([names, first]);
    if (this.head.dataset['stamp'] !== stamp) {
      this.head.dataset['stamp'] = stamp;
      this.head.replaceChildren(
        h('th', { scope: 'col', 'aria-label': 'Row' }),
        ...names.map(({ name, dtype }, i) => this.headCell(name, dtype, first + i)),
      );
    }
    for (const [i, cell] of [...this.head.children].entries()) {
      const sorted = i > 0 && this.part.sort === first + i - 1;
      cell.setAttribute('aria-sort', sorted ? (this.part.descending ? 'descending' : 'ascending') : 'none');
      const sign = cell.querySelector('.sign');
      if (sign) {
        sign.textContent = sorted ? (this.part.descending ? ' ↓' : ' ↑') : '';
      }
    }
  }

  private headCell(name: string, dtype: string, column: number): HTMLElement {
    const filter = h('input', {
      type: 'text',
      placeholder: 'Filter: text, > 3',
      'aria-label': `Filter ${name}: a text, or a comparison such as > 3`,
      value: this.part.filters?.find((other) => other.column === column)?.text ?? '',
      spellcheck: 'false',
    });
    filter.addEventListener('input', () => {
      clearTimeout(this.timer);
      this.timer = window.setTimeout(() => {
        const others = (this.part.filters ?? []).filter((other) => other.column !== column);
        const text = filter.value.trim();
        this.ask({ start: 0, filters: text === '' ? others : [...others, { column, text }] });
      }, typing);
    });
    const sort = h(
      'button',
      {
        type: 'button',
        title: `Sort by ${name}`,
        click: () => {
          this.sort(column);
        },
      },
      name,
      h('span', { class: 'sign' }),
    );
    return h('th', { scope: 'col' }, sort, h('span', { class: 'dtype' }, dtype), filter);
  }

  /** Sorts by a column: from the lowest, then from the highest, then not any more. */
  private sort(column: number): void {
    const { sort, descending, ...others } = this.part;
    if (sort !== column) {
      this.part = { ...others, sort: column, descending: false };
    } else if (!descending) {
      this.part = { ...others, sort: column, descending: true };
    } else {
      this.part = others;
    }
    this.ask({ start: 0 });
  }

  /** Where in the dimensions before the last two. */
  private showPlaces(shape: readonly number[]): void {
    const outer = shape.slice(0, -2);
    if (this.places.childElementCount === outer.length) {
      return;
    }
    this.places.replaceChildren(
      ...outer.map((size, axis) => {
        const input = h('input', {
          type: 'number',
          min: '0',
          max: String(size - 1),
          value: '0',
          title: `Dimension ${axis}, 0 to ${size - 1}`,
          'aria-label': `Place in dimension ${axis}, 0 to ${size - 1}`,
        });
        input.addEventListener('change', () => {
          const place = outer.map((_, other) => this.part.place?.[other] ?? 0);
          place[axis] = Math.min(size - 1, Math.max(0, Math.trunc(Number(input.value))));
          input.value = String(place[axis]);
          this.ask({ start: 0, place });
        });
        return input;
      }),
    );
  }

  /** Shows the cells, and returns how many differ on other processes. */
  private showBody({ labels = [], cells = [] }: TablePage): number {
    const others = this.comparing ? this.tables : [];
    let differing = 0;
    this.body.replaceChildren(
      ...cells.map((row, i) =>
        h(
          'tr',
          {},
          h('th', { scope: 'row' }, labels[i] ?? ''),
          ...row.map((text, j) => {
            const values = others.map(({ rank, page }) => [rank, page.cells?.[i]?.[j]] as const);
            if (values.every(([, value]) => value === text)) {
              return h('td', {}, text);
            }
            differing++;
            const all = values.map(([rank, value]) => `${name(rank)}: ${value ?? 'nothing'}`).join('\n');
            return h('td', { class: 'differs', title: all, 'aria-label': `${text}, differs. ${all}` }, `≠ ${text}`);
          }),
        ),
      ),
    );
    return differing;
  }

  private copy(): void {
    const shown = this.tables.find(({ rank }) => String(rank) === this.who.value)?.page;
    const names = ['', ...(shown?.names ?? []).map((column) => column.name)];
    const rows = (shown?.cells ?? []).map((row, i) => [shown?.labels?.[i] ?? '', ...row]);
    const text = [names, ...rows]
      .map((row) => row.map((cell) => cell.replaceAll(/[\t\n]/g, ' ')).join('\t'))
      .join('\n');
    vscode.postMessage({ type: 'copy', text: `${text}\n` });
  }
}

function name(rank: number): string {
  return rank === LOCAL ? 'local' : `rank ${rank}`;
}

function count(n: number): string {
  return n.toLocaleString('en');
}

new TableView();
