/** The prompt below the results: what is typed there runs on the session. */
import type { Match } from '../messages';
import { h } from './dom';

/** What outlives the page. */
export interface PromptState {
  /** What was run, the earliest first. */
  typed?: readonly string[];
  target?: string;
  /** What is not run yet. */
  draft?: string;
}

export interface PromptDeeds {
  run(code: string, target: string): void;
  /** Asks how code may go on; the answer comes by [offer] with the same number. */
  complete(code: string, target: string, id: number): void;
  keep(state: PromptState): void;
}

/** How much of what was run is kept. */
const maxTyped = 200;

/** How many lines the prompt grows to. */
const maxLines = 10;

export class Prompt {
  readonly element: HTMLElement;
  private readonly target = h('select', { 'aria-label': 'Where the code runs', title: 'Where the code runs' });
  private readonly input = h('textarea', {
    rows: '1',
    'aria-label':
      'Code to run: Enter runs it, Shift+Enter begins a line, Tab completes, arrows bring back what was run',
    placeholder: 'Run code: Shift+Enter for a new line, Tab completes, ↑ ↓ what was run',
    spellcheck: 'false',
    autocapitalize: 'off',
    'aria-autocomplete': 'list',
    'aria-controls': 'matches',
    'aria-expanded': 'false',
    role: 'combobox',
  });
  private readonly list = h('ul', {
    id: 'matches',
    class: 'matches',
    role: 'listbox',
    'aria-label': 'Completions',
    hidden: true,
  });
  private typed: readonly string[];
  private at: number; // in typed; its end: what is being written
  private draft = '';
  private asked = 0;
  private replaces = '';
  private matches: readonly Match[] = [];
  private chosen = 0;
  private ranks: readonly number[] | undefined;

  constructor(
    state: PromptState,
    private readonly deeds: PromptDeeds,
  ) {
    this.typed = state.typed ?? [];
    this.at = this.typed.length;
    this.input.value = state.draft ?? '';
    this.element = h('form', { class: 'prompt', 'aria-label': 'Prompt' }, this.list, this.target, this.input);
    this.offerRanks([], state.target);
    this.element.addEventListener('submit', (event) => {
      event.preventDefault();
    });
    this.target.addEventListener('change', () => {
      this.keep();
    });
    this.input.addEventListener('input', () => {
      this.changed();
    });
    this.input.addEventListener('keydown', (event) => {
      if (!event.isComposing && this.press(event)) {
        event.preventDefault();
        event.stopPropagation();
      }
    });
    this.list.addEventListener('mousedown', (event) => {
      event.preventDefault(); // the focus stays in the text
    });
    this.input.addEventListener('blur', () => {
      this.close();
    });
    this.resize();
  }

  focus(): void {
    this.input.focus();
  }

  /** Names the ranks that the user may choose. */
  offerRanks(ranks: readonly number[], wanted = this.target.value): void {
    if (this.ranks?.join() === ranks.join()) {
      return;
    }
    this.ranks = ranks;
    const all = [
      ['', 'As autodip says'],
      ['local', 'Local'],
      ['remote', 'All ranks'],
      ['everywhere', 'Everywhere'],
      ...ranks.map((rank) => [`ranks:${rank}`, `Rank ${rank}`]),
    ] as [string, string][];
    if (!all.some(([value]) => value === wanted)) {
      all.push([wanted, wanted.replace('ranks:', 'Rank ')]); // its rank may come back
    }
    this.target.replaceChildren(...all.map(([value, text]) => h('option', { value }, text)));
    this.target.value = wanted;
  }

  /** Shows how the code may go on, if it is still what was asked for. */
  offer(id: number, replaces: string, matches: readonly Match[]): void {
    if (id !== this.asked || !this.before.endsWith(replaces) || matches.length === 0) {
      return;
    }
    this.replaces = replaces;
    const [only, second] = matches;
    if (only && !second) {
      this.insert(only.text);
      return;
    }
    this.matches = matches;
    this.chosen = 0;
    this.list.replaceChildren(
      ...matches.map((match, i) =>
        h(
          'li',
          {
            role: 'option',
            id: `match-${i}`,
            click: () => {
              this.insert(match.text);
            },
          },
          match.text,
          h('span', { class: 'kind' }, match.kind ?? ''),
        ),
      ),
    );
    this.list.hidden = false;
    this.input.setAttribute('aria-expanded', 'true');
    this.choose(0);
  }

  private get before(): string {
    return this.input.value.slice(0, this.input.selectionStart);
  }

  /** Handles a key; true if it means nothing else any more. */
  private press(event: KeyboardEvent): boolean {
    const { key, shiftKey, altKey, ctrlKey, metaKey } = event;
    if (altKey || ctrlKey || metaKey) {
      return false;
    }
    if (!this.list.hidden) {
      switch (key) {
        case 'ArrowDown':
          this.choose(this.chosen + 1);
          return true;
        case 'ArrowUp':
          this.choose(this.chosen - 1);
          return true;
        case 'Enter':
        case 'Tab':
          if (!shiftKey) {
            this.insert(this.matches[this.chosen]?.text ?? '');
            return true;
          }
          break;
        case 'Escape':
          this.close();
          return true;
      }
    }
    switch (key) {
      case 'Enter':
        return !shiftKey && this.run();
      case 'Tab':
        return !shiftKey && this.complete();
      case 'ArrowUp':
        return !shiftKey && !this.before.includes('\n') && this.walk(-1);
      case 'ArrowDown':
        return !shiftKey && !this.input.value.slice(this.input.selectionEnd).includes('\n') && this.walk(1);
      case 'Escape':
        if (this.input.value === '') {
          return false;
        }
        this.set('');
        return true;
      default:
        return false;
    }
  }

  private run(): boolean {
    const code = this.input.value;
    if (code.trim() !== '') {
      this.deeds.run(code, this.target.value);
      this.typed = [...this.typed.filter((other) => other !== code), code].slice(-maxTyped);
      this.at = this.typed.length;
      this.set('');
    }
    return true;
  }

  /** Completes what stands before the cursor. Where nothing does, Tab goes on to the next element, or indents a line. */
  private complete(): boolean {
    const line = this.before.slice(this.before.lastIndexOf('\n') + 1);
    if (line.trim() !== '') {
      this.deeds.complete(this.before, this.target.value, ++this.asked);
      return true;
    }
    if (!this.before.includes('\n')) {
      return false;
    }
    this.replaces = '';
    this.insert('    ');
    return true;
  }

  /** Brings back what was run earlier or later. */
  private walk(step: number): boolean {
    const to = this.at + step;
    if (to < 0 || to > this.typed.length) {
      return false;
    }
    if (this.at === this.typed.length) {
      this.draft = this.input.value;
    }
    this.set(this.typed[to] ?? this.draft);
    this.at = to;
    return true;
  }

  private set(text: string): void {
    this.input.value = text;
    this.input.setSelectionRange(text.length, text.length);
    this.changed();
  }

  private insert(text: string): void {
    const end = this.input.selectionStart;
    this.input.setRangeText(text, end - this.replaces.length, end, 'end');
    this.changed();
  }

  private changed(): void {
    this.asked++; // an answer that comes is for what was there before
    this.close();
    this.resize();
    this.keep();
  }

  private choose(at: number): void {
    const count = this.matches.length;
    this.chosen = (at + count) % count;
    [...this.list.children].forEach((item, i) => {
      item.setAttribute('aria-selected', String(i === this.chosen));
    });
    const item = this.list.children[this.chosen];
    item?.scrollIntoView({ block: 'nearest' });
    this.input.setAttribute('aria-activedescendant', `match-${this.chosen}`);
  }

  private close(): void {
    this.list.hidden = true;
    this.matches = [];
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }

  private resize(): void {
    this.input.rows = Math.min(maxLines, this.input.value.split('\n').length);
  }

  private keep(): void {
    this.deeds.keep({ typed: this.typed, target: this.target.value, draft: this.input.value });
  }
}
