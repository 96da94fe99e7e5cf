import { describe, expect, test } from 'vitest';
import { icon } from '../src/cells/icons';
import { around, cellAt, covers, hasCells, markOf, seemsToHaveCells } from '../src/cells/places';

function cell(first: number, last: number, header = true, target = '') {
  const start = { line: first, character: 0 };
  return {
    range: { start, end: { line: last, character: 0 } },
    header: { start, end: { line: first, character: header ? 4 : 0 } },
    target,
  };
}

describe('whether a document has cells', () => {
  test.each([
    ['an ordinary module', [cell(0, 9, false)], false],
    ['an empty document', [], false],
    ['a marker in its first line', [cell(0, 9)], true],
    ['a marker somewhere', [cell(0, 4, false), cell(5, 9)], true],
    ['a marker below what was asked for', [cell(0, 4, false)], true],
    ['a marker above what was asked for', [cell(5, 9)], true],
    ['a directive alone', [cell(0, 9, false, 'local')], true],
  ])('%s', (_, cells, expected) => {
    expect(hasCells(cells, 10)).toBe(expected);
  });
});

test('a text seems to have cells if it has something like a marker', () => {
  for (const text of [
    '# %%',
    'import os\r\n#%% A\r\n',
    'def f():\n    # %%% B',
    '# In[3]:\n',
    '# <codecell>',
    '# %%dip everywhere',
  ]) {
    expect([text, seemsToHaveCells(text)]).toEqual([text, true]);
  }
  for (const text of ['', 'import os\n', 'print("100 %%")\n', 'x = 1  # %%\n', '# 50 %% of it']) {
    expect([text, seemsToHaveCells(text)]).toEqual([text, false]);
  }
});

test('the cell of a line', () => {
  const cells = [cell(2, 4), cell(5, 9)];
  expect([1, 2, 4, 5, 9, 10].map((line) => cellAt(cells, line)?.range.start.line)).toEqual([
    undefined,
    2,
    2,
    5,
    5,
    undefined,
  ]);
});

test('a cell is marked that has changed since it ran, or has left nothing behind, unless it runs', () => {
  const restarted = 'not run since the restart';
  expect(markOf({ state: '', stale: false, gone: '' })).toBeUndefined();
  expect(markOf({ state: 'ok', stale: false, gone: '' })).toBe('ok');
  expect(markOf({ state: 'ok', stale: false, gone: restarted })).toBe('gone');
  expect(markOf({ state: 'failed', stale: true, gone: '' })).toBe('stale');
  expect(markOf({ state: 'failed', stale: true, gone: restarted })).toBe('gone');
  expect(markOf({ state: 'running', stale: true, gone: '' })).toBe('running');
  expect(markOf({ state: 'queued', stale: true, gone: '' })).toBe('queued');
});

describe('lines that are asked for', () => {
  test('reach beyond what is shown, and stay within the document', () => {
    expect(around([{ first: 500, last: 600 }], 10_000)).toEqual({ first: 400, last: 700 });
    expect(around([{ first: 0, last: 10 }], 10_000)).toEqual({ first: 0, last: 50 });
    expect(around([{ first: 9_990, last: 9_999 }], 10_000)).toEqual({ first: 9_950, last: 9_999 });
  });

  test('hold all parts that folding leaves to be seen', () => {
    const shown = [
      { first: 100, last: 120 },
      { first: 300, last: 320 },
    ];
    const lines = around(shown, 10_000);
    expect(lines).toEqual({ first: 0, last: 540 });
    expect(covers(lines, shown)).toBe(true);
  });

  test('are asked for again only when they are left', () => {
    expect(covers(undefined, [{ first: 0, last: 1 }])).toBe(false);
    expect(covers({ first: 0, last: 50 }, [{ first: 40, last: 50 }])).toBe(true);
    expect(covers({ first: 0, last: 50 }, [{ first: 40, last: 51 }])).toBe(false);
  });
});

test('pictures are SVG in the colour of their background', () => {
  const svg = (uri: string) => Buffer.from(uri.split(',')[1] ?? '', 'base64').toString();
  const all = (['queued', 'running', 'ok', 'failed', 'interrupted', 'gone', 'stale'] as const).flatMap((mark) => [
    svg(icon(mark, 'dark')),
    svg(icon(mark, 'light')),
  ]);
  expect(new Set(all).size).toBe(14);
  for (const text of all) {
    expect(text).toMatch(/^<svg .*stroke="#[0-9a-f]{6}".*<\/svg>$/);
    expect(text).not.toContain('COLOUR');
  }
});
