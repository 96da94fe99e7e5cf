import { expect, test } from 'vitest';
import type { DipEvent, PastRun } from '../src/generated/server';
import { cellOf, fileText, filterText, group, runDetails, runLabel, runText } from '../src/history/model';
import { Runs } from '../src/runs';

const at = (day: number, hour: number, also: Partial<PastRun> = {}): PastRun => ({
  run: `a-${day}-${hour}`,
  path: '/home/u/train.py',
  line: 3,
  cell: 2,
  title: 'Train',
  target: 'remote',
  status: 'ok',
  started: new Date(2026, 0, day, hour, 5).toISOString(),
  seconds: 12.5,
  server: 1,
  ...also,
});

test('runs are grouped by day and file, the latest first', () => {
  const runs = [at(31, 12), at(31, 11, { path: '/home/u/b.py', status: 'error' }), at(31, 10), at(30, 9), at(2, 1)];
  const days = group(runs, new Date(2026, 0, 31, 13));
  expect(days.map(({ label }) => label)).toEqual(['Today', 'Yesterday', '2026-01-02']);
  expect(days[0]?.files.map(({ path, runs }) => [path, runs.map(({ run }) => run)])).toEqual([
    ['/home/u/train.py', ['a-31-12', 'a-31-10']],
    ['/home/u/b.py', ['a-31-11']],
  ]);
  expect(days[0]?.files.map(fileText)).toEqual(['2 runs', '1 run, 1 not ok']);
});

test('a run is described by a sign, its time and its memory', () => {
  const run = at(31, 12, { peak_memory: 8_600_000_000 });
  expect(runLabel(run)).toBe('cell 2 Train');
  expect(runText(run, true)).toBe('✓ 13 s · 12:05 · 8.6 GB peak');
  expect(runText(run, false)).toBe('○ 13 s · 12:05 · 8.6 GB peak');
  expect(runText(at(31, 9, { status: 'killed', seconds: 0 }), false)).toBe('✗ killed · 09:05');
  expect(runDetails(run, true)).toEqual([
    'cell 2 Train: ✓ 13 s · 12:05 · 8.6 GB peak',
    '/home/u/train.py:3',
    'all ranks, run a-31-12',
    'It has put nothing out.',
  ]);
  expect(filterText({ path: '/home/u/train.py', status: ['error'], cell: '3' })).toBe('train.py · cell 3 · error');
});

test('a run is run again as the cell that it was, or the one of its title', () => {
  const cell = (number: number, title: string, run = '', kind = 'code') => ({ number, title, run, kind });
  const cells = [cell(1, 'Train', '', 'markdown'), cell(2, ''), cell(3, 'Train'), cell(4, 'Other', 'a-31-12')];
  expect(cellOf(cells, at(31, 12))?.number).toBe(4);
  expect(cellOf(cells, at(31, 11))?.number).toBe(3);
  expect(cellOf(cells, at(31, 11, { title: '' }))?.number).toBe(2);
  expect(cellOf(cells, at(31, 11, { title: 'Gone' }))).toBeUndefined();
});

test('a run of an earlier session is recalled as past, with the time at which it began', () => {
  const runs = new Runs(() => 5000);
  const seen: boolean[] = [];
  runs.listen({ changed: () => seen.push(runs.past) });
  const events: DipEvent[] = [
    { event: 'run_started', run: 'a-1', cell: 2, target: 'local', see: '0', began: new Date(1000).toISOString() },
    { event: 'rank_state', run: 'a-1', local: true, state: 'busy' },
    { event: 'stream', run: 'a-1', local: true, name: 'stdout', text: 'hello\n' },
    { event: 'run_finished', run: 'a-1', status: 'ok', seconds: 1 },
  ];
  runs.recall(events);
  expect(runs.get('a-1')).toMatchObject({ started: 1000, status: 'ok' });
  expect(new Set(seen)).toEqual(new Set([true]));
  expect(runs.past).toBe(false);
});
