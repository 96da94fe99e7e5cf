/** Rows as elements. */
import { duration, hostsOf, listOn, LOCAL, rankList, whose } from '../../ranks';
import type { Failure, Line, Notice, Output } from '../../timeline';
import { plain } from '../../screen';
import { type TracebackPart, tracebackParts } from '../../traceback';
import type { EntryAction, Head, RunAction, RunKey } from '../messages';
import { css, type Style } from '../../ansi';
import { button, h } from './dom';
import type { Frames } from './frames';
import type { MirrorEntry, MirrorRun } from './mirror';
import { differences, type Piece, pieces, type Place, type Range } from './pieces';
import { richElement } from './rich';
import { labelOf, type Row } from './rows';

export interface RenderContext {
  readonly frames: Frames;
  /** The search text, in lower case. */
  readonly filter: () => string;
  readonly open: (place: Place) => void;
  readonly act: (action: RunAction, run: RunKey) => void;
  readonly actOn: (action: EntryAction, run: RunKey, entry: number) => void;
  /** Shows the setting that allows outputs to use the network. */
  readonly allow: () => void;
  readonly copy: (run: MirrorRun) => void;
  readonly toggle: (run: RunKey) => void;
  readonly showAll: () => void;
}

/** Longer lines are cut; all of them is in the output file. */
const maxShown = 20_000;

export class Renderer {
  /** Folded frames that the user has opened: by their entry, and their place in its traceback. */
  private readonly opened = new Set<string>();

  constructor(private readonly context: RenderContext) {}

  /** The part of a row that may change. While it stays the same, the row's element is kept. */
  stamp(row: Row): unknown {
    switch (row.kind) {
      case 'head':
        return `${String(row.collapsed)} ${JSON.stringify(row.run.head)}`;
      case 'live':
        return row.line;
      case 'hidden':
      case 'elided':
        return row.count;
      case 'columns':
        return row.columns.join(';');
      default:
        return undefined;
    }
  }

  row(row: Row): HTMLElement {
    switch (row.kind) {
      case 'head':
        return this.head(row.run, row.collapsed);
      case 'entry':
        return this.entry(row.entry, row.run);
      case 'live':
        return h(
          'div',
          { class: `row live ${row.line.stream}${alone(row.run) ? ' alone' : ''}` },
          label(row.line.ranks, row.run),
          h('div', { class: 'text' }, ...this.text(row.line.text)),
        );
      case 'columns':
        return h(
          'div',
          { class: 'row cells columns' },
          ...row.columns.map((ranks) => h('div', { class: 'cell' }, whose(ranks, hostsOf(row.run.head.parts)))),
        );
      case 'cells':
        return this.cells(row.cells, row.run);
      case 'hidden':
        return this.note(
          `${count(row.count, 'more')} of ${whose(row.ranks, hostsOf(row.run.head.parts))}`,
          'Show all ranks',
          this.context.showAll,
        );
      case 'elided':
        return this.note(`${count(row.count, 'earlier')} left out here`, 'Open output', () => {
          this.context.act('showOutput', row.run.key);
        });
    }
  }

  /** Updates the ranks shown at an entry, after they have changed. */
  relabel(row: Row, element: HTMLElement): void {
    if (row.kind === 'entry') {
      const before = element.querySelector('.label');
      const after = entryLabel(row.entry, row.run);
      if (before && before.textContent !== after.textContent) {
        before.replaceWith(after);
      }
    }
  }

  head(run: MirrorRun, collapsed: boolean): HTMLElement {
    const { head, key } = run;
    const { act } = this.context;
    const name = `${head.title}${head.place ? `, ${head.place}` : ''}`;
    const context = {
      webviewSection: head.target ? 'run' : 'notices',
      key,
      running: head.running,
      preventDefaultContextMenuItems: true,
    };
    const title = head.place
      ? button(
          `Go to ${name}`,
          head.title,
          () => {
            act('goToCell', key);
          },
          { class: 'title' },
        )
      : h('span', { class: 'title' }, head.title);
    const actions = [
      ...(head.running
        ? [
            button('Interrupt this run', 'Interrupt', () => {
              act('interrupt', key);
            }),
          ]
        : []),
      button('Copy what is shown of this run', 'Copy', () => {
        this.context.copy(run);
      }),
      ...(head.target
        ? [
            button('Open all that this run has printed', 'Output', () => {
              act('showOutput', key);
            }),
          ]
        : []),
    ];
    return h(
      'div',
      {
        class: `row head ${stateOf(head)}${head.nested ? ' nested' : ''}`,
        role: 'heading',
        'aria-level': '2',
        'data-run': String(key),
        'data-vscode-context': JSON.stringify(context),
      },
      button(
        `${collapsed ? 'Expand' : 'Collapse'} ${name}`,
        collapsed ? '▸' : '▾',
        () => {
          this.context.toggle(key);
        },
        { class: 'twist', 'aria-expanded': String(!collapsed) },
      ),
      h('span', { class: 'status', role: 'img', 'aria-label': statusWord(head) }, statusSign(head)),
      title,
      h('span', { class: 'place' }, head.place),
      h('span', { class: 'target' }, head.target),
      h('span', { class: 'parts' }, [head.gone, partsWords(head)].filter(Boolean).join(' · ')),
      h('span', { class: 'elapsed', ...(head.running && { 'data-started': String(run.started) }) }, elapsed(run)),
      h('span', { class: 'actions' }, ...actions),
    );
  }

  private entry(entry: MirrorEntry, run: MirrorRun): HTMLElement {
    const { output } = entry;
    const kind =
      output.kind === 'line' ? output.stream : output.kind === 'notice' ? `notice ${output.level}` : output.kind;
    return h(
      'div',
      { class: `row ${kind}${alone(run) ? ' alone' : ''}` },
      entryLabel(entry, run),
      this.body(entry, run, undefined),
    );
  }

  private body(entry: MirrorEntry, run: MirrorRun, differing: Range | undefined): HTMLElement {
    const { output } = entry;
    if (output.kind === 'rich') {
      const text = (value: string): HTMLElement => h('div', { class: 'text' }, ...this.text(value, differing));
      const content = richElement(output, {
        frames: this.context.frames,
        whose: whose(entry.ranks, hostsOf(run.head.parts)),
        fill: false,
        text,
        enlarge: () => {
          this.context.actOn('enlarge', run.key, entry.id);
        },
        save: () => {
          this.context.actOn('save', run.key, entry.id);
        },
        allow: this.context.allow,
      });
      return content.classList.contains('text') ? content : h('div', { class: 'body' }, content);
    }
    if (output.kind === 'failure') {
      const parts = tracebackParts(output.traceback);
      if (parts.length > 1) {
        return h('div', { class: 'text' }, ...parts.map((part, i) => this.part(part, `${entry.id}.${i}`)));
      }
    }
    return h('div', { class: 'text' }, ...this.text(sourceOf(output), differing));
  }

  /** A part of a traceback: its lines, or one that opens. */
  private part({ text, fold }: TracebackPart, key: string): HTMLElement {
    const lines = h('div', {}, ...this.text(text));
    if (fold === undefined) {
      return lines;
    }
    const filter = this.context.filter();
    const found = filter !== '' && plain(text).toLowerCase().includes(filter);
    const line = h('button', { type: 'button', class: 'fold' });
    const show = (open: boolean): void => {
      lines.hidden = !open;
      line.setAttribute('aria-expanded', String(open));
      line.textContent = `${open ? '▾' : '▸'} ${fold.trim()}`;
    };
    line.addEventListener('click', () => {
      show(lines.hidden === true);
      if (lines.hidden) {
        this.opened.delete(key);
      } else {
        this.opened.add(key);
      }
    });
    show(found || this.opened.has(key));
    return h('div', {}, line, lines);
  }

  private cells(cells: readonly (MirrorEntry | undefined)[], run: MirrorRun): HTMLElement {
    const texts = cells.map((entry) => (entry ? plainOf(entry.output) : undefined));
    const known = texts.filter((text) => text !== undefined);
    const differing = known.length === texts.length ? differences(known) : [];
    return h(
      'div',
      { class: 'row cells' },
      ...cells.map((entry, i) => {
        if (!entry) {
          return h('div', { class: 'cell missing', 'aria-label': 'nothing' });
        }
        const range = differing[i];
        return h('div', { class: `cell differs ${entry.output.kind}` }, this.body(entry, run, range));
      }),
    );
  }

  private note(text: string, action: string, click: () => void): HTMLElement {
    return h('div', { class: 'row note' }, `${text} · `, h('button', { type: 'button', class: 'link', click }, action));
  }

  private text(text: string, differing?: Range): Node[] {
    const shown =
      text.length > maxShown ? `${text.slice(0, maxShown)}\x1b[0m … ${text.length - maxShown} more characters` : text;
    return pieces(shown, differing, this.context.filter()).map((piece) => this.piece(piece));
  }

  private piece(piece: Piece): Node {
    const { style, place } = piece;
    if (!place && !piece.match && !piece.differs && Object.keys(style).length === 0) {
      return document.createTextNode(piece.text);
    }
    const names = [piece.match && 'match', piece.differs && 'mark', ...flagsOf(style)].filter(
      (name) => typeof name === 'string',
    );
    const element = place
      ? h(
          'a',
          {
            href: '#',
            title: `Open ${place.path}, line ${place.line}`,
            click: (event) => {
              event.preventDefault();
              this.context.open(place);
            },
          },
          piece.text,
        )
      : h('span', {}, piece.text);
    element.className = names.join(' ');
    const [fg, bg] = style.inverse ? [style.bg, style.fg] : [style.fg, style.bg];
    if (fg !== undefined) {
      element.style.color = css(fg);
    }
    if (bg !== undefined) {
      element.style.backgroundColor = css(bg);
    }
    return element;
  }
}

function flagsOf(style: Style): string[] {
  return (['bold', 'dim', 'italic', 'underline', 'strike', 'inverse'] as const).filter((flag) => style[flag]);
}

/** Whether no labels are needed, because all output comes from one process. */
function alone(run: MirrorRun): boolean {
  return run.head.parts.length === 1;
}

function label(ranks: readonly number[], run: MirrorRun): HTMLElement {
  const hostOf = hostsOf(run.head.parts);
  const list = alone(run) ? '' : listOn(ranks, hostOf);
  return h('span', { class: 'label', ...(list && { title: whose(ranks, hostOf) }) }, list && `[${list}]`);
}

function entryLabel(entry: MirrorEntry, run: MirrorRun): HTMLElement {
  const local = entry.ranks[0] === LOCAL;
  const { output } = entry;
  const hostOf = hostsOf(run.head.parts);
  const value = output.kind === 'rich' && output.count !== undefined;
  const list = value ? rankList(entry.ranks) : listOn(entry.ranks, hostOf);
  const text = labelOf(list, alone(run) || (local && value), output);
  return h('span', { class: 'label', ...(entry.ranks.length > 0 && { title: whose(entry.ranks, hostOf) }) }, text);
}

function sourceOf(output: Line | Notice | Failure): string {
  return output.kind === 'failure' ? output.traceback : output.text;
}

function plainOf(output: Output): string | undefined {
  if (output.kind === 'rich') {
    const { data } = output;
    const text = data['text/plain'];
    return Object.keys(data).length === 1 && typeof text === 'string' ? plain(text) : undefined;
  }
  return plain(sourceOf(output));
}

/** How a run goes or went; `gone` if it has left nothing behind, however it went. */
function stateOf({ running, gone, status }: Head): string {
  return running ? 'running' : gone === undefined ? (status ?? '') : 'gone';
}

function statusSign(head: Head): string {
  if (head.running) {
    return '●';
  }
  if (head.gone !== undefined) {
    return '○';
  }
  switch (head.status) {
    case 'ok':
      return '✓';
    case undefined:
      return '•';
    case 'interrupted':
      return '■';
    default:
      return '✗';
  }
}

function statusWord(head: Head): string {
  return head.running
    ? 'running'
    : ({ ok: 'ok', error: 'failed', interrupted: 'interrupted', died: 'died', skipped: 'skipped' } as const)[
        head.status ?? 'ok'
      ];
}

/** The state of a run's parts: who still runs, or where it has failed. */
export function partsWords(head: Head): string {
  const { parts } = head;
  const busy = parts.filter((part) => part.status === undefined).map((part) => part.rank);
  if (head.running) {
    return parts.length > 1 && busy.length > 0 && busy.length < parts.length
      ? `${whose(busy, hostsOf(parts))} still running`
      : '';
  }
  const bad = parts.filter((part) => part.status !== undefined && part.status !== 'ok').map((part) => part.rank);
  return bad.length > 0 && parts.length > 1
    ? `${statusWord(head)} on ${bad.length === parts.length ? 'all' : whose(bad, hostsOf(parts))}`
    : '';
}

export function elapsed(run: MirrorRun): string {
  return run.head.target === ''
    ? ''
    : duration(run.head.running ? (performance.now() - run.started) / 1000 : run.head.seconds);
}

function count(n: number, what: string): string {
  return `${n.toLocaleString('en')} ${what}`;
}
