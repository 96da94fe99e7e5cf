import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { SplitAnswer } from '../src/generated/server';
import { cellsOf, type PercentCell, textOf } from '../src/notebooks/percent';

const testdata = path.join(import.meta.dirname, '../../testdata');
const examples = JSON.parse(readFileSync(path.join(testdata, 'split.json'), 'utf8')) as Record<string, SplitAnswer>;

const eol = '\n';
const file: SplitAnswer = {
  gap: '',
  cells: [
    { kind: 'code', header: '', body: 'import os\n\n' },
    { kind: 'markdown', header: '# %% [markdown] Intro\n', body: '# # Title\n#\n# text\n\n' },
    { kind: 'code', header: '# %%\n', body: 'x = 1\n\n' },
    { kind: 'code', header: '# %% Train target="remote"\n', body: 'train()\n' },
  ],
};

function edit(cells: readonly PercentCell[], index: number, value: string): PercentCell[] {
  return cells.map((cell, i) => (i === index ? { ...cell, value } : cell));
}

describe('a file as a notebook', () => {
  for (const [name, answer] of Object.entries(examples)) {
    it(`is written as it was: ${name}`, () => {
      const { around, cells } = cellsOf(answer);
      expect(textOf(around, cells)).toBe(readFileSync(path.join(testdata, name), 'utf8'));
    });
  }

  it('shows titles and targets, no bare markers, and text without comment signs', () => {
    expect(cellsOf(file).cells.map(({ kind, value }) => [kind, value])).toEqual([
      ['code', 'import os'],
      ['markdown', '# Title\n\ntext'],
      ['code', 'x = 1'],
      ['code', '# %% Train target="remote"\ntrain()'],
    ]);
  });

  it('keeps all that an edit does not touch', () => {
    const { around, cells } = cellsOf(file);
    expect(textOf(around, edit(cells, 2, 'x = 2\ny = 3'))).toBe(
      'import os\n\n# %% [markdown] Intro\n# # Title\n#\n# text\n\n# %%\nx = 2\ny = 3\n\n# %% Train target="remote"\ntrain()\n',
    );
    expect(textOf(around, edit(cells, 1, 'new\n\ntext'))).toContain(
      '# %% [markdown] Intro\n# new\n#\n# text\n\n# %%\n',
    );
    expect(textOf(around, edit(cells, 3, 'train(2)'))).toMatch(/x = 1\n\n# %%\ntrain\(2\)\n$/); // its marker was deleted
  });

  it('gives cells that are new, moved or of another kind a marker of their own', () => {
    const { around, cells } = cellsOf(file);
    const [first, second] = cells as [PercentCell, PercentCell];
    expect(textOf(around, [{ kind: 'code', value: 'new()' }, first])).toBe('# %%\nnew()\n\n# %%\nimport os\n\n');
    expect(textOf(around, [{ ...second, kind: 'code' }])).toBe('# %%\n# Title\n\ntext\n\n');
    expect(
      textOf(around, [
        { kind: 'markdown', value: 'a\n\nb' },
        { kind: 'code', value: '# %% Own\nf()' },
      ]),
    ).toBe('# %% [markdown]\n# a\n#\n# b\n\n# %% Own\nf()\n\n');
  });

  it('keeps line ends, also at the end', () => {
    const { around, cells } = cellsOf({
      gap: '#!/usr/bin/python\r\n',
      cells: [
        { kind: 'code', header: '# %%\r\n', body: 'x = 1\r\n' },
        { kind: 'code', header: '# %% Last\r\n', body: 'y' },
      ],
    });
    expect(textOf(around, cells)).toBe('#!/usr/bin/python\r\n# %%\r\nx = 1\r\n# %% Last\r\ny');
    expect(textOf(around, [...edit(cells, 0, 'x = 1\nz = 2'), { kind: 'code', value: 'new' }])).toBe(
      '#!/usr/bin/python\r\n# %%\r\nx = 1\r\nz = 2\r\n# %% Last\r\ny\r\n# %%\r\nnew\r\n\r\n',
    );
    expect(textOf({ gap: '', eol }, [])).toBe('');
  });
});
