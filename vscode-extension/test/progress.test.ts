import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { going, lasted, timeLeft } from '../src/progress';

interface Examples {
  lines: { line: string; seconds: number | null }[];
}

describe('the time that is left', () => {
  it('is what tqdm says', () => {
    const { lines } = JSON.parse(
      readFileSync(new URL('../../testdata/progress.json', import.meta.url), 'utf8'),
    ) as Examples;
    expect(lines.map(({ line }) => timeLeft(line) ?? null)).toEqual(lines.map(({ seconds }) => seconds));
  });
});

test('durations are in whole seconds', () => {
  expect([0.9, 7.5, 125, 12_000].map(lasted)).toEqual(['0 s', '7 s', '2 min 5 s', '3 h 20 min']);
});

test('a run says for how long it has been going on, from a second on', () => {
  const run = { started: 1000, running: true, live: () => [{ text: 'epoch 1' }, { text: '45% [00:10<01:05, 4it/s]' }] };
  expect(going(run, 1999)).toBe('');
  expect(going(run, 13_000)).toBe('12 s · 1 min 5 s left');
  expect(going({ ...run, live: () => [] }, 13_000)).toBe('12 s');
  expect(going({ ...run, running: false }, 13_000)).toBe('');
  expect(going(undefined, 13_000)).toBe('');
});
