import { describe, expect, test } from 'vitest';
import {
  type CellLines,
  type Change,
  entry,
  hasBody,
  insertAbove,
  insertBelow,
  type Position,
  remove,
  split,
  swap,
  type Text,
  whole,
} from '../src/cells/edits';

/** A text in which | is the cursor, or both ends of a selection, and its cells; that of the cursor has a number. */
function parse(marked: string, eol: string) {
  const ends: Position[] = [];
  const lines = marked.split('\n').map((line, number) => {
    for (let i = line.indexOf('|'); i >= 0; i = line.indexOf('|')) {
      ends.push({ line: number, character: i });
      line = line.slice(0, i) + line.slice(i + 1);
    }
    return line;
  });
  const text: Text = { lineCount: lines.length, eol, line: (number) => lines[number] ?? '' };
  const [start = { line: 0, character: 0 }, end = start] = ends;
  const starts = lines.flatMap((line, number) => (number === 0 || /^\s*# ?%%/.test(line) ? [number] : []));
  const cells: CellLines[] = starts.map((first, i) => ({
    first,
    last: (starts[i + 1] ?? lines.length) - 1,
    header: /^\s*# ?%%/.test(lines[first] ?? ''),
  }));
  const number = cells.findLastIndex(({ first }) => first <= start.line);
  return { text, lines, cells, number, selection: { start, end } };
}

/** The text after a change, with the cursor in it. */
function applied(lines: readonly string[], { edits, cursor }: Change, eol: string): string {
  const text = lines.join(eol);
  const offset = ({ line, character }: Position) =>
    lines.slice(0, line).join(eol).length + (line > 0 ? eol.length : 0) + character;
  let after = text;
  for (const edit of edits.toSorted((a, b) => offset(b.start) - offset(a.start))) {
    after = after.slice(0, offset(edit.start)) + edit.text + after.slice(offset(edit.end));
  }
  expect(after.replaceAll(eol, '')).not.toMatch(/[\r\n]/);
  const result = after.split(eol);
  result[cursor.line] =
    `${(result[cursor.line] ?? '').slice(0, cursor.character)}|${(result[cursor.line] ?? '').slice(cursor.character)}`;
  return result.join('\n');
}

type Parsed = ReturnType<typeof parse>;
const own = ({ cells, number }: Parsed) => cells[number] as CellLines;

/** Does something to a text with each line terminator. */
function after(marked: string, change: (parsed: Parsed) => Change): string {
  const [lf, crlf] = ['\n', '\r\n'].map((eol) => {
    const parsed = parse(marked, eol);
    return applied(parsed.lines, change(parsed), eol);
  });
  expect(crlf).toBe(lf);
  return lf ?? '';
}

const below = (marked: string) => after(marked, (p) => insertBelow(p.text, own(p)));
const above = (marked: string) => after(marked, (p) => insertAbove(p.text, own(p)));
const splitAt = (marked: string) => after(marked, (p) => split(p.text, own(p), p.selection));
const removed = (marked: string) => after(marked, (p) => remove(p.text, own(p)));
const down = (marked: string) =>
  after(marked, (p) => swap(p.text, own(p), p.cells[p.number + 1] as CellLines, 'upper', p.selection.start));
const up = (marked: string) =>
  after(marked, (p) => swap(p.text, p.cells[p.number - 1] as CellLines, own(p), 'lower', p.selection.start));

describe('insert below', () => {
  test.each([
    ['between cells', '# %% A\na|\n\n# %% B\nb\n', '# %% A\na\n\n# %%\n|\n\n# %% B\nb\n'],
    ['where cells follow each other closely', '# %%\na|\n# %%\nb', '# %%\na\n\n# %%\n|\n\n# %%\nb'],
    ['at the end', '# %%\na|\n', '# %%\na\n\n# %%\n|'],
    ['at an end without a newline', '# %%\na|', '# %%\na\n\n# %%\n|'],
    ['at an end with blank lines', '# %%\na|\n\n\n', '# %%\na\n\n# %%\n|'],
    ['behind the text before the first marker', 'import os|\n\n# %%\nb\n', 'import os\n\n# %%\n|\n\n# %%\nb\n'],
    ['with the marker’s spelling and depth', '#%%% deep\na|\n', '#%%% deep\na\n\n#%%%\n|'],
    ['behind a magic that is a marker', '# %%dip everywhere\na|\n', '# %%dip everywhere\na\n\n# %%\n|'],
    ['indented', 'def f():\n    # %% A\n    a|\n', 'def f():\n    # %% A\n    a\n\n    # %%\n    |'],
  ])('%s', (_, before, expected) => {
    expect(below(before)).toBe(expected);
  });

  test('in an empty document', () => {
    expect(after('|', (p) => insertBelow(p.text, undefined))).toBe('# %%\n|');
  });
});

describe('insert above', () => {
  test.each([
    ['between cells', '# %% A\na\n\n# %% B\nb|\n', '# %% A\na\n\n# %%\n|\n\n# %% B\nb\n'],
    ['where cells follow each other closely', '# %%\na\n# %%\nb|', '# %%\na\n\n# %%\n|\n\n# %%\nb'],
    ['at the beginning', '# %%\na|\n', '# %%\n|\n\n# %%\na\n'],
    ['of the text before the first marker', 'import os|\n', '# %%\n|\n\n# %%\nimport os\n'],
  ])('%s', (_, before, expected) => {
    expect(above(before)).toBe(expected);
  });
});

describe('split', () => {
  test.each([
    ['at a line', '# %% A\na\n|b\n', '# %% A\na\n\n# %%\n|b\n'],
    ['at the end of a line', '# %% A\na|\nb\n', '# %% A\na\n\n# %%\n|b\n'],
    ['in a line', '# %%\na = 1; |b = 2\n', '# %%\na = 1;\n\n# %%\n|b = 2\n'],
    ['in an indented line', '# %%\nif x:\n    a;|  b\n', '# %%\nif x:\n    a;\n\n# %%\n    |b\n'],
    ['in an indentation', '# %%\nif x:\n  |  a\n', '# %%\nif x:\n\n# %%\n    |a\n'],
    ['on blank lines', '# %%\na\n\n|\n\nb', '# %%\na\n\n# %%\n|b'],
    ['below all text', '# %%\na\n|\n', '# %%\na\n\n# %%\n|'],
    ['on the marker', '# %%| A\na\n', '# %% A\n\n# %%\n|a\n'],
    ['of which there is only the marker', '# %%|', '# %%\n\n# %%\n|'],
    ['before the first marker', 'a\n|b\n# %%\nc', 'a\n\n# %%\n|b\n# %%\nc'],
    ['at its very beginning', '|a\n', '# %%\n|a\n'],
    ['with a selection', '# %%\na\n|b\nc|\nd\n', '# %%\na\n\n# %%\n|b\nc\n\n# %%\nd\n'],
    ['with a selection at the beginning', '# %%\n|a|\nb\n', '# %%\n|a\n\n# %%\nb\n'],
    ['with a selection at the end', '# %%\na\n|b|\n', '# %%\na\n\n# %%\n|b\n'],
    ['with a selection of blank lines', '# %%\na\n|\n\n|b\n', '# %%\na\n\n# %%\n|b\n'],
  ])('%s', (_, before, expected) => {
    expect(splitAt(before)).toBe(expected);
  });
});

describe('move', () => {
  test.each([
    ['down', '# %% A\na|\n\n# %% B\nb\n\n# %% C\nc\n', '# %% B\nb\n\n# %% A\na|\n\n# %% C\nc\n'],
    ['down to an end without a newline', '# %% A\na|\n\n# %% B\nb', '# %% B\nb\n\n# %% A\na|'],
    ['down from before the first marker', 'impo|rt os\n\n# %% B\nb\n', '# %% B\nb\n\n# %%\nimpo|rt os\n'],
    ['down with the cursor below the text', '# %% A\na\n\n|\n# %% B\nb\n', '# %% B\nb\n\n\n# %% A\n|a\n'],
    ['down without a body', '# %% A|\n# %% B\nb\n', '# %% B\nb\n# %% A|\n'],
  ])('%s', (_, before, expected) => {
    expect(down(before)).toBe(expected);
  });

  test.each([
    ['up', '# %% A\na\n\n# %% B\nb|\n\n# %% C\nc\n', '# %% B\nb|\n\n# %% A\na\n\n# %% C\nc\n'],
    ['up from an end without a newline', '# %% A\na\n\n# %% B|\nb', '# %% B|\nb\n\n# %% A\na'],
    ['up to before the first marker', 'import os\n\n# %% B\nb|\n', '# %% B\nb|\n\n# %%\nimport os\n'],
  ])('%s', (_, before, expected) => {
    expect(up(before)).toBe(expected);
  });

  test('there and back again is as it was', () => {
    const marked = '# %% A\na|\n\n\n# %% B\nb\n\n# %% C\nc';
    expect(up(down(marked))).toBe(marked);
  });
});

describe('remove', () => {
  test.each([
    ['in the middle', '# %% A\na|\n\n# %% B\nb\n', '|# %% B\nb\n'],
    ['at the end', '# %% A\na\n\n# %% B\nb|\n', '# %% A\na\n\n|'],
    ['at an end without a newline', '# %% A\na\n# %% B\nb|', '# %% A\na|'],
    ['all there is', '# %% A\na|', '|'],
  ])('%s', (_, before, expected) => {
    expect(removed(before)).toBe(expected);
  });
});

test('a cell is entered below its marker', () => {
  const { text, cells } = parse('x\n# %% A\n  a\n# %% B\n# %% C', '\n');
  expect(cells.map((cell) => entry(text, cell))).toEqual([
    { line: 0, character: 0 },
    { line: 2, character: 2 },
    { line: 3, character: 6 },
    { line: 4, character: 6 },
  ]);
  expect(cells.map((cell) => hasBody(text, cell))).toEqual([true, true, false, false]);
});

test('the whole of a cell reaches to the next one', () => {
  const { text, cells } = parse('# %% A\na\n\n# %% B\nb', '\n');
  expect(cells.map((cell) => whole(text, cell))).toEqual([
    { start: { line: 0, character: 0 }, end: { line: 3, character: 0 } },
    { start: { line: 3, character: 0 }, end: { line: 4, character: 1 } },
  ]);
});
