/** The view's page: its data, what of that is shown, and its messages to the extension. */
import { hostsOf, listOn, LOCAL, whose } from '../../ranks';
import { prompted } from '../../screen';
import { tracebackParts } from '../../traceback';
import { type FromView, isToView, type RunKey, type ToView, type ViewCommand } from '../messages';
import { button, h } from './dom';
import { Frames } from './frames';
import { List } from './list';
import { Mirror, type MirrorRun } from './mirror';
import { Prompt, type PromptState } from './prompt';
import { elapsed, Renderer } from './render';
import { type Choice, labelOf, type Options, type Row, Rows, textOf } from './rows';
import { settingsOf } from './settings';

/** What outlives the page, which VS Code removes whenever it is hidden. */
interface State {
  choice?: Choice;
  filter?: string;
  sideBySide?: boolean;
  noWrap?: boolean;
  collapsed?: RunKey[];
  prompt?: PromptState;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromView): void;
  getState(): State | undefined;
  setState(state: State): void;
};

const vscode = acquireVsCodeApi();
const settings = settingsOf(document.currentScript);

class View {
  private readonly mirror = new Mirror();
  private readonly rows = new Rows();
  private state: State = vscode.getState() ?? {};
  private readonly renderer: Renderer;
  private readonly prompt = new Prompt(this.state.prompt ?? {}, {
    run: (code, target) => {
      this.list.follow(true);
      vscode.postMessage({ type: 'run', code, target });
    },
    complete: (code, target, id) => {
      vscode.postMessage({ type: 'complete', code, target, id });
    },
    keep: (prompt) => {
      this.state = { ...this.state, prompt };
      vscode.setState(this.state);
    },
  });
  private readonly list: List;
  private readonly ranks = h('select', { 'aria-label': 'Whose output', title: 'Whose output' });
  private readonly find = h('input', {
    type: 'text',
    placeholder: 'Filter',
    'aria-label': 'Filter results',
    spellcheck: 'false',
  });
  private readonly found = h('span', { class: 'found', 'aria-live': 'polite' });
  private readonly beside = button('Show ranks that differ side by side', 'Side by side', () => {
    this.choose({ sideBySide: !this.state.sideBySide });
  });
  private readonly newest = button(
    'Go to the newest output and follow it',
    '↓ Newest',
    () => {
      this.list.follow(true);
    },
    { class: 'newest', hidden: true },
  );
  private readonly sticky = h('div', { class: 'sticky', hidden: true });
  private readonly empty = h(
    'div',
    { class: 'empty' },
    'What cells put out is shown here: text, plots and tables, of all ranks. Run a cell of a Python file to begin.',
  );
  private top: Row | undefined; // the topmost row in view
  private wanted: RunKey | undefined; // the run to go to once it is there
  private lineHeight = 18;
  private columns = 80;
  private clock = 0;

  constructor() {
    this.renderer = new Renderer({
      frames: new Frames(settings),
      filter: () => this.filter,
      open: ({ path, line }) => {
        vscode.postMessage({ type: 'open', path, line });
      },
      act: (type, key) => {
        vscode.postMessage({ type, key });
      },
      actOn: (type, key, entry) => {
        vscode.postMessage({ type, key, entry });
      },
      allow: () => {
        vscode.postMessage({ type: 'network' });
      },
      copy: (run) => {
        this.copy(run);
      },
      toggle: (key) => {
        const collapsed = this.state.collapsed ?? [];
        this.choose({ collapsed: collapsed.includes(key) ? collapsed.filter((k) => k !== key) : [...collapsed, key] });
      },
      showAll: () => {
        this.choose({ choice: 'all' });
      },
    });
    this.list = new List({
      render: (row) => this.renderer.row(row),
      stamp: (row) => this.renderer.stamp(row),
      keep: (row, element) => {
        this.renderer.relabel(row, element);
      },
      estimate: (row) => this.estimate(row),
      following: (follows) => {
        this.newest.hidden = follows;
      },
      topped: (row, above, next) => {
        this.top = row;
        this.stick(row?.kind === 'head' && above < 1 ? undefined : row, next);
      },
    });
    const main = h('main', {}, this.list.element, this.sticky, this.empty, this.newest);
    document.body.append(
      h(
        'div',
        { class: 'toolbar', role: 'toolbar', 'aria-label': 'Results' },
        this.ranks,
        this.beside,
        this.found,
        this.find,
      ),
      main,
      this.prompt.element,
    );
    this.ranks.addEventListener('change', () => {
      const { value } = this.ranks;
      this.choose({ choice: value === 'seen' || value === 'all' ? value : Number(value) });
    });
    this.find.value = this.state.filter ?? '';
    this.find.addEventListener('input', () => {
      this.choose({ filter: this.find.value });
    });
    this.find.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.find.value !== '') {
        this.find.value = '';
        this.choose({ filter: '' });
        event.stopPropagation();
      }
    });
    window.addEventListener('message', ({ data, origin }: MessageEvent<unknown>) => {
      // Frames of outputs can send messages, too. They have another origin.
      if (origin === window.origin && isToView(data)) {
        this.take(data);
      }
    });
    new MutationObserver(() => {
      this.restyle();
    }).observe(document.documentElement, { attributeFilter: ['style', 'class'] });
    new ResizeObserver(() => {
      this.measure();
    }).observe(this.list.element);
    this.restyle();
    this.show();
    vscode.postMessage({ type: 'ready' });
  }

  private get filter(): string {
    return (this.state.filter ?? '').toLowerCase();
  }

  private get options(): Options {
    return {
      choice: this.state.choice ?? 'seen',
      filter: this.filter,
      sideBySide: this.state.sideBySide ?? false,
      collapsed: new Set(this.state.collapsed),
    };
  }

  private take(message: ToView): void {
    if (message.type === 'do') {
      this.do(message.command);
      return;
    }
    if (message.type === 'completions') {
      this.prompt.offer(message.id, message.replaces, message.matches);
      return;
    }
    if (message.type === 'whichCell') {
      const key = this.current();
      if (key !== undefined) {
        vscode.postMessage({ type: 'goToCell', key });
      }
      return;
    }
    if (message.type === 'goTo') {
      this.wanted = message.key;
      this.goTo();
      return;
    }
    if (message.reset) {
      this.mirror.reset();
      this.rows.list.length = 0;
    }
    const change = this.mirror.apply(message.runs, performance.now());
    this.list.update(this.rows.list, this.rows.update(this.mirror.runs, this.options, change));
    this.show();
    this.goTo();
    // Ask for more only after everything so far has been drawn.
    requestAnimationFrame(() => {
      vscode.postMessage({ type: 'taken' });
    });
  }

  /** Brings the wanted run into view and gives it the focus, once it is there: opened, and with nothing filtered out. */
  private goTo(): void {
    const key = this.wanted;
    if (key === undefined || !this.mirror.runs.some((run) => run.key === key)) {
      return;
    }
    this.wanted = undefined;
    this.find.value = '';
    this.choose({ filter: '', collapsed: (this.state.collapsed ?? []).filter((other) => other !== key) });
    this.list.goTo(this.rows.list.findIndex((row) => row.kind === 'head' && row.run.key === key));
    this.list.element
      .querySelector<HTMLElement>(`.head[data-run="${key}"] button.title`)
      ?.focus({ preventScroll: true });
  }

  /** The run that has the focus, else the topmost one in view. */
  private current(): RunKey | undefined {
    const focused = document.activeElement?.closest<HTMLElement>('.head[data-run]')?.dataset['run'];
    return focused === undefined ? this.top?.run.key : Number(focused);
  }

  private do(command: ViewCommand): void {
    switch (command) {
      case 'find':
        this.find.focus();
        this.find.select();
        break;
      case 'ranks':
        this.ranks.focus();
        break;
      case 'prompt':
        this.prompt.focus();
        break;
      case 'wrap':
        this.choose({ noWrap: !this.state.noWrap });
        break;
      case 'sideBySide':
        this.choose({ sideBySide: !this.state.sideBySide });
        break;
      case 'copy':
        this.copy();
    }
  }

  /** Changes what is shown. */
  private choose(state: State): void {
    this.state = { ...this.state, ...state };
    delete this.sticky.dataset['stamp'];
    vscode.setState(this.state);
    this.rows.update(this.mirror.runs, this.options, { run: 0, entry: 0 });
    this.list.update(this.rows.list, 0);
    this.restyle();
    this.show();
  }

  /** Shows in the toolbar what is chosen. */
  private show(): void {
    const { runs } = this.mirror;
    const choice = this.options.choice;
    const processes = new Set(runs.flatMap((run) => run.head.parts.map((part) => part.rank)));
    if (typeof choice === 'number') {
      processes.add(choice);
    }
    const ranks = [...processes].filter((rank) => rank !== LOCAL).sort((a, b) => a - b);
    this.prompt.offerRanks(ranks);
    const hostOf = hostsOf(runs.flatMap((run) => run.head.parts)); // of the last run of a rank
    const offered: [string, string][] = [
      ['seen', 'Seen ranks'],
      ['all', 'All ranks'],
      ...ranks.map((rank): [string, string] => [String(rank), whose([rank], hostOf).replace('r', 'R')]),
      ...(processes.has(LOCAL) ? [[String(LOCAL), 'Local'] as [string, string]] : []),
    ];
    const values = offered.flat().join();
    if (this.ranks.dataset['values'] !== values) {
      this.ranks.dataset['values'] = values;
      this.ranks.replaceChildren(...offered.map(([value, text]) => h('option', { value }, text)));
    }
    this.ranks.value = String(choice);
    this.beside.setAttribute('aria-pressed', String(this.state.sideBySide ?? false));
    this.beside.disabled = typeof choice === 'number';
    const { matches } = this.rows;
    this.found.textContent =
      this.filter === '' ? '' : matches === 0 ? 'Nothing found' : `${matches.toLocaleString('en')} found`;
    this.empty.hidden = runs.length > 0;
    this.tick();
  }

  /** Updates the clocks of runs as long as one is running. */
  private tick(): void {
    const running = this.mirror.runs.some((run) => run.head.running);
    if (running && this.clock === 0) {
      this.clock = window.setInterval(() => {
        for (const element of document.querySelectorAll<HTMLElement>('.elapsed[data-started]')) {
          const run = this.mirror.runs.find((run) => String(run.started) === element.dataset['started']);
          if (run) {
            element.textContent = elapsed(run);
          }
        }
      }, 100);
    } else if (!running) {
      clearInterval(this.clock);
      this.clock = 0;
    }
  }

  /** Keeps the head of the topmost run in view, until the next head, so many pixels below, pushes it out. */
  private stick(row: Row | undefined, next: number): void {
    this.sticky.hidden = row === undefined;
    this.sticky.style.transform = `translateY(${Math.min(0, next - this.sticky.offsetHeight)}px)`;
    if (row && this.sticky.dataset['stamp'] !== stampOf(row.run)) {
      this.sticky.replaceChildren(this.renderer.head(row.run, this.options.collapsed.has(row.run.key)));
      this.sticky.dataset['stamp'] = stampOf(row.run);
    }
  }

  private restyle(): void {
    document.body.classList.toggle('nowrap', this.state.noWrap ?? false);
    this.measure();
    this.list.refresh();
  }

  /** Measures characters, from which the heights of rows out of view are estimated. */
  private measure(): void {
    const probe = h('div', { class: 'text probe' }, 'x'.repeat(100));
    this.list.element.append(probe);
    const { width, height } = probe.getBoundingClientRect();
    probe.remove();
    if (width > 0) {
      this.lineHeight = height;
      this.columns = Math.max(10, Math.floor((this.list.element.clientWidth - labelWidth) / (width / 100)));
    }
  }

  private estimate(row: Row): number {
    switch (row.kind) {
      case 'head':
        return 28;
      case 'entry':
        return this.entryHeight(row.entry.output);
      case 'cells':
        return Math.max(...row.cells.map((entry) => (entry ? this.entryHeight(entry.output) : 0)));
      default:
        return this.lineHeight;
    }
  }

  private entryHeight(output: Parameters<typeof textOf>[0]): number {
    if (output.kind === 'rich' && Object.keys(output.data).some((mime) => mime !== 'text/plain')) {
      return 240;
    }
    const text =
      output.kind === 'failure'
        ? tracebackParts(output.traceback)
            .map((part) => part.fold ?? part.text)
            .join('\n')
        : textOf(output);
    if (output.kind === 'line') {
      return this.lineHeight * (this.state.noWrap ? 1 : Math.max(1, Math.ceil(text.length / this.columns)));
    }
    return this.lineHeight * text.split('\n').length;
  }

  /** Copies what is shown, of one run or of all, as text. */
  private copy(of?: MirrorRun): void {
    const rows = this.rows.list.filter((row) => of === undefined || row.run === of);
    vscode.postMessage({
      type: 'copy',
      text:
        rows
          .map(rowText)
          .filter((text) => text !== '')
          .join('\n') + '\n',
    });
  }
}

const labelWidth = 90; // of the labels and margins beside texts, about

function stampOf(run: MirrorRun): string {
  return `${run.key} ${JSON.stringify(run.head)}`;
}

/** A row as text, as it would be printed. */
function rowText(row: Row): string {
  switch (row.kind) {
    case 'head': {
      const { title, place, target } = row.run.head;
      return `── ${[title, place, target].filter(Boolean).join(' · ')}`;
    }
    case 'entry': {
      const list = listOn(row.entry.ranks, hostsOf(row.run.head.parts));
      const label = labelOf(list, row.run.head.parts.length === 1, row.entry.output);
      const text = textOf(row.entry.output);
      return label.startsWith('Out') ? prompted(label, text) : text.replaceAll(/^/gm, label && `${label} `);
    }
    case 'cells':
      return [...new Set(row.cells)]
        .flatMap((entry) => {
          const list = entry && listOn(entry.ranks, hostsOf(row.run.head.parts));
          return entry ? textOf(entry.output).replaceAll(/^/gm, `[${list}] `) : [];
        })
        .join('\n');
    case 'live':
      return row.line.text;
    default:
      return '';
  }
}

new View();
