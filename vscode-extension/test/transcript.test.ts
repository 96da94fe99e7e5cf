import { expect, test } from 'vitest';
import type { DipEvent } from '../src/generated/server';
import { heading, Transcript } from '../src/output/transcript';
import { LOCAL } from '../src/ranks';
import { plain } from '../src/screen';

function transcript(rank: number, events: DipEvent[]): { lines: string[]; live: string[] } {
  const all = new Transcript(rank, (run) => run);
  const lines = events.flatMap((event) => all.take(event)).map(plain);
  return { lines, live: all.live() };
}

const of = { run: 'r1', rank: 1 };
const ended: DipEvent = { event: 'rank_state', ...of, state: 'ready', status: 'ok', seconds: 1.25 };

test('both streams, results and the end, under a heading', () => {
  const { lines } = transcript(1, [
    { event: 'rank_state', ...of, state: 'busy' },
    { event: 'stream', ...of, name: 'stdout', text: 'one\ntw' },
    { event: 'stream', ...of, name: 'stdout', text: 'o\n' },
    { event: 'stream', ...of, name: 'stderr', text: 'careful\n' },
    { event: 'result', ...of, execution_count: 3, data: { 'text/plain': '42' } },
    ended,
  ]);
  expect(lines).toEqual(['--- r1', 'one', 'two', 'careful', 'Out[1:3]: 42', '✓ 1.3 s']);
});

// dipexec's TestFoldResultOfSeveralLines has the same text.
test('a value of several lines begins on a line of its own', () => {
  const array = 'array([[0, 1],\n       [2, 3]])';
  const { lines } = transcript(0, [
    { event: 'result', run: 'r1', rank: 0, execution_count: 10, data: { 'text/plain': array } },
  ]);
  expect(lines).toEqual(['--- r1', 'Out[0:10]:', 'array([[0, 1],', '       [2, 3]])']);
  const local = transcript(LOCAL, [
    { event: 'result', run: 'r1', local: true, execution_count: 10, data: { 'text/plain': array } },
  ]);
  expect(local.lines).toEqual(['--- r1', 'Out[10]:', 'array([[0, 1],', '       [2, 3]])']);
});

test('a run in which nothing is said leaves no trace', () => {
  expect(transcript(1, [{ event: 'rank_state', ...of, state: 'busy' }, ended]).lines).toEqual([]);
});

test('a progress bar is one line', () => {
  const bar = (text: string): DipEvent => ({ event: 'stream', ...of, name: 'stderr', text });
  const { lines, live } = transcript(1, [bar('\r  0%|   |'), bar('\r 50%|#  |')]);
  expect([lines, live]).toEqual([['--- r1'], [' 50%|#  |']]);
  expect(transcript(1, [bar('\r  0%|   |'), bar('\r100%|###|\n'), ended]).lines).toEqual([
    '--- r1',
    '100%|###|',
    '✓ 1.3 s',
  ]);
});

test('a display that is updated is shown as it was last', () => {
  const show = (text: string, update: boolean): DipEvent => ({
    event: 'display',
    ...of,
    data: { 'text/plain': text },
    display_id: 'd',
    ...(update && { update }),
  });
  const { lines } = transcript(1, [show('0', false), show('1', true), show('2', true), ended]);
  expect(lines).toEqual(['--- r1', '0', '2', '✓ 1.3 s']);
});

test('pictures are named by their files', () => {
  const data = { 'text/plain': '<Figure>', 'image/png': 'iVBO' };
  const { lines } = transcript(LOCAL, [
    { event: 'display', run: 'r1', local: true, data, files: { 'image/png': '/j/local-1.png' } },
  ]);
  expect(lines).toEqual(['--- r1', '<Figure> [/j/local-1.png]']);
});

test('failures and deaths', () => {
  const { lines } = transcript(LOCAL, [
    { event: 'stream', run: 'r1', local: true, name: 'stdout', text: 'begin' },
    {
      event: 'error',
      run: 'r1',
      local: true,
      ename: 'NameError',
      evalue: 'x',
      traceback: ['Traceback', 'NameError: x\n'],
    },
    { event: 'rank_state', run: 'r1', local: true, state: 'ready', status: 'error', seconds: 0.01 },
    {
      event: 'rank_state',
      run: 'r2',
      local: true,
      state: 'dead',
      status: 'died',
      seconds: 1,
      reason: 'killed by SIGKILL',
    },
  ]);
  expect(lines).toEqual([
    '--- r1',
    'begin',
    'Traceback',
    'NameError: x',
    '✗ NameError · 10 ms',
    '--- r2',
    '✗ killed by SIGKILL · 1.0 s',
  ]);
});

test('headings', () => {
  expect(heading({ cell: 3, title: 'Train', target: 'remote', see: '0' })).toBe('Cell 3: Train (all ranks)');
  expect(heading({ cell: 1, target: 'local', see: '0' })).toBe('Cell 1');
  expect(heading({ title: '%dipush x', target: 'local', see: '0' })).toBe('%dipush x');
});

test('what is live stays as it is when the process is gone', () => {
  const all = new Transcript(1, (run) => run);
  all.take({ event: 'stream', ...of, name: 'stderr', text: '\r 50%|#  |' });
  expect(all.end()).toEqual([' 50%|#  |']);
  expect([all.live(), all.end()]).toEqual([[], []]);
});
