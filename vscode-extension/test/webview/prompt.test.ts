// @vitest-environment jsdom
import { beforeEach, describe, expect, it } from 'vitest';
import { fromView, isToView } from '../../src/results/messages';
import { Prompt, type PromptState } from '../../src/results/webview/prompt';

interface Asked {
  code: string;
  target: string;
  id: number;
}

let ran: [string, string][];
let asked: Asked[];
let kept: PromptState;
let prompt: Prompt;
let input: HTMLTextAreaElement;

function open(state: PromptState = {}): void {
  ran = [];
  asked = [];
  kept = state;
  prompt = new Prompt(state, {
    run: (code, target) => ran.push([code, target]),
    complete: (code, target, id) => asked.push({ code, target, id }),
    keep: (state) => (kept = state),
  });
  document.body.replaceChildren(prompt.element);
  const found = document.querySelector('textarea');
  if (!found) {
    throw new Error('no input');
  }
  input = found;
  Element.prototype.scrollIntoView = () => undefined; // jsdom lays nothing out
}

function type(text: string): void {
  input.setRangeText(text, input.selectionStart, input.selectionEnd, 'end');
  input.dispatchEvent(new Event('input'));
}

/** Presses a key; whether it means nothing else any more. */
const press = (key: string, more: KeyboardEventInit = {}): boolean =>
  !input.dispatchEvent(new KeyboardEvent('keydown', { key, cancelable: true, ...more }));

const listed = (): string[] =>
  [...document.querySelectorAll('.matches li')].map((item) => item.firstChild?.textContent ?? '');

beforeEach(() => {
  open();
});

describe('the prompt', () => {
  it('runs what is typed where the user has chosen', () => {
    prompt.offerRanks([0, 1]);
    const select = document.querySelector('select');
    expect([...(select?.options ?? [])].map(({ text }) => text)).toEqual([
      'As autodip says',
      'Local',
      'All ranks',
      'Everywhere',
      'Rank 0',
      'Rank 1',
    ]);
    type('x = 1');
    expect(press('Enter', { shiftKey: true })).toBe(false); // a new line
    type('\ny');
    expect(input.rows).toBe(2);
    if (select) {
      select.value = 'ranks:1';
    }
    expect(press('Enter')).toBe(true);
    expect(ran).toEqual([['x = 1\ny', 'ranks:1']]);
    expect(input.value).toBe('');
    expect(kept).toEqual({ typed: ['x = 1\ny'], target: 'ranks:1', draft: '' });
    press('Enter');
    expect(ran).toHaveLength(1);
  });

  it('brings back what was run, and what is not run yet', () => {
    open({ typed: ['a', 'b\nc'], target: 'ranks:7', draft: 'd' });
    expect(document.querySelector('select')?.value).toBe('ranks:7');
    input.setSelectionRange(1, 1);
    expect(press('ArrowUp')).toBe(true);
    expect(input.value).toBe('b\nc');
    expect(press('ArrowUp')).toBe(false); // to the line above
    input.setSelectionRange(0, 0);
    expect(press('ArrowUp')).toBe(true);
    expect(press('ArrowUp')).toBe(false);
    expect(input.value).toBe('a');
    press('ArrowDown');
    press('ArrowDown');
    expect(input.value).toBe('d');
    expect(press('ArrowDown')).toBe(false);
    expect(press('Escape')).toBe(true);
    expect(input.value).toBe('');
    expect(press('Escape')).toBe(false);
  });

  it('completes by Tab, with a list where there are several', () => {
    expect(press('Tab')).toBe(false); // on to the next element
    type('f(model.la');
    expect(press('Tab')).toBe(true);
    expect(asked).toEqual([{ code: 'f(model.la', target: '', id: 2 }]);
    prompt.offer(2, 'la', [{ text: 'layers', kind: 'instance' }, { text: 'label' }]);
    expect(listed()).toEqual(['layers', 'label']);
    expect(input.getAttribute('aria-activedescendant')).toBe('match-0');
    press('ArrowDown');
    expect(document.querySelector('[aria-selected=true]')?.id).toBe('match-1');
    expect(press('Enter')).toBe(true);
    expect(input.value).toBe('f(model.label');
    expect(input.getAttribute('aria-expanded')).toBe('false');
    expect(ran).toEqual([]);
  });

  it('inserts the only match, and none for what is not there any more', () => {
    type('mo');
    press('Tab');
    prompt.offer(asked[0]?.id ?? 0, 'mo', [{ text: 'model' }]);
    expect(input.value).toBe('model');
    press('Tab');
    type('x');
    prompt.offer(asked[1]?.id ?? 0, 'model', [{ text: 'models' }]);
    expect(input.value).toBe('modelx');
  });
});

describe('its messages', () => {
  it('are taken if they are whole', () => {
    expect(fromView({ type: 'run', code: 'x', target: '' })).toEqual({ type: 'run', code: 'x', target: '' });
    expect(fromView({ type: 'complete', code: 'x', target: 'local', id: 3 })).toMatchObject({ id: 3 });
    expect(fromView({ type: 'complete', code: 'x', target: 'local' })).toBeUndefined();
    expect(fromView({ type: 'run', code: 1, target: '' })).toBeUndefined();
    expect(isToView({ type: 'completions', id: 1, replaces: '', matches: [] })).toBe(true);
  });
});
