import { describe, expect, it } from 'vitest';
import type { DipEvent } from '../src/generated/server';
import { LOCAL, rankList } from '../src/ranks';
import { Deltas } from '../src/results/deltas';
import { fromView, isToView } from '../src/results/messages';
import { reveals } from '../src/results/reveal';
import { css, spans } from '../src/ansi';
import { Heights } from '../src/results/webview/heights';
import { Mirror } from '../src/results/webview/mirror';
import { differences, pieces, placesIn } from '../src/results/webview/pieces';
import { type Options, type Row, rowKey, Rows, textOf } from '../src/results/webview/rows';
import { Runs } from '../src/runs';

const folded: Options = { choice: 'all', filter: '', sideBySide: false, collapsed: new Set() };

/** A model, and a view that is told of it: what the view has is what it would have if it came now. */
function setup(options: Options = folded) {
  const runs = new Runs(() => 0);
  const deltas = new Deltas(
    runs,
    () => undefined,
    () => 0,
  );
  const mirror = new Mirror();
  const rows = new Rows();
  const view = {
    options,
    rows,
    mirror,
    /** Tells the view what is new, and checks that this is as good as all anew. */
    look: (): string[] => {
      rows.update(mirror.runs, view.options, mirror.apply(deltas.take(), 0));
      const fresh = new Mirror();
      const freshRows = new Rows();
      freshRows.update(fresh.runs, view.options, fresh.apply(deltas.takeAll(), 0));
      expect(shown(rows.list)).toEqual(shown(freshRows.list));
      return shown(rows.list);
    },
    anew: (): string[] => {
      rows.update(mirror.runs, view.options, { run: 0, entry: 0 });
      return view.look();
    },
  };
  const begin = (run: string, ranks: number[], see = 'all') => {
    runs.apply({ event: 'run_started', run, target: 'remote', see, title: run });
    for (const rank of ranks) {
      runs.apply({ event: 'rank_state', run, ...of(rank), state: 'busy' });
    }
  };
  const say = (run: string, rank: number, text: string) => {
    runs.apply({ event: 'stream', run, ...of(rank), name: 'stdout', text });
  };
  return { runs, begin, say, view };
}

function of(rank: number): Pick<DipEvent, 'rank' | 'local'> {
  return rank === LOCAL ? { local: true } : { rank };
}

function shown(rows: readonly Row[]): string[] {
  return rows.map((row) => {
    switch (row.kind) {
      case 'head':
        return `# ${row.run.head.title}`;
      case 'entry':
        return `[${rankList(row.entry.ranks)}] ${textOf(row.entry.output)}`;
      case 'cells':
        return row.cells.map((entry) => (entry ? textOf(entry.output) : '-')).join(' | ');
      case 'columns':
        return row.columns.map((ranks) => rankList(ranks)).join(' | ');
      case 'live':
        return `[${rankList(row.line.ranks)}] ~ ${row.line.text}`;
      case 'hidden':
        return `${row.count} of ${rankList(row.ranks)}`;
      case 'elided':
        return `${row.count} earlier`;
    }
  });
}

describe('the view', () => {
  it('shows what runs have put out, also while two of them go on', () => {
    const { begin, say, runs, view } = setup();
    begin('a', [LOCAL]);
    begin('b', [0, 1]);
    say('a', LOCAL, 'x\n');
    say('b', 0, 'y\n');
    expect(view.look()).toEqual(['# a', '[local] x', '# b', '[0] y']);
    say('a', LOCAL, 'z\n\r50%');
    say('b', 1, 'y\nw\n');
    expect(view.look()).toEqual(['# a', '[local] x', '[local] z', '[local] ~ 50%', '# b', '[0-1] y', '[1] w']);
    runs.apply({ event: 'run_finished', run: 'a', status: 'ok', seconds: 1 });
    runs.clear();
    expect(view.look()).toEqual(['# b', '[0-1] y', '[1] w']);
  });

  it('shows the ranks that a run wants seen, how much there is of others, and failures of all', () => {
    const { begin, say, runs, view } = setup({ ...folded, choice: 'seen' });
    begin('a', [0, 1, 2], '0');
    for (const rank of [0, 1, 2]) {
      say('a', rank, `pid ${rank}\nsame\n`);
    }
    runs.apply({ event: 'error', run: 'a', rank: 2, ename: 'E', evalue: 'e', traceback: [] });
    expect(view.look()).toEqual(['# a', '[0] pid 0', '[0-2] same', '[2] E: e', '2 of 1-2']);
    say('a', 1, 'more\n');
    expect(view.look()).toEqual(['# a', '[0] pid 0', '[0-2] same', '[2] E: e', '3 of 1-2']);
    view.options = { ...folded, choice: 1 };
    expect(view.anew()).toEqual(['# a', '[1] pid 1', '[0-2] same', '[1] more']);
    view.options = { ...folded, collapsed: new Set([1]) };
    expect(view.anew()).toEqual(['# a']);
  });

  it('shows ranks that differ side by side, those that are alike in one column', () => {
    const { begin, say, view } = setup({ ...folded, sideBySide: true });
    begin('a', [0, 1, 2]);
    for (const rank of [0, 1, 2]) {
      say('a', rank, `epoch 1\nloss ${rank % 2}\n${rank === 1 ? 'nan\n' : ''}epoch 2\n`);
    }
    expect(view.look()).toEqual(['# a', '0,2 | 1', '[0-2] epoch 1', 'loss 0 | loss 1', '- | nan', '[0-2] epoch 2']);
    say('a', 0, 'x\n');
    say('a', 2, 'x\n');
    expect(view.look().slice(-2)).toEqual(['[0-2] epoch 2', 'x | -']);
    say('a', 1, 'y\n');
    expect(view.look().slice(-2)).toEqual(['[0-2] epoch 2', 'x | y']);
    say('a', 2, 'z\n');
    expect(view.look().slice(-3)).toEqual(['[0-2] epoch 2', 'x | y | x', '- | - | z']);
  });

  it('shows what has a text in it, and the heads of those runs', () => {
    const { begin, say, view } = setup({ ...folded, filter: 'loss' });
    begin('a', [0]);
    say('a', 0, 'Loss 1\nother\n');
    begin('b', [0]);
    say('b', 0, 'nothing\n');
    expect(view.look()).toEqual(['# a', '[0] Loss 1']);
    expect(view.rows.matches).toBe(1);
    say('b', 0, 'a loss\n');
    expect(view.look()).toEqual(['# a', '[0] Loss 1', '# b', '[0] a loss']);
  });

  it('has the history of a session once, also while it looks, and what comes after that', () => {
    const { runs, begin, say, view } = setup();
    const tell = (last: string) => {
      begin('a', [0, 1]);
      say('a', 0, 'loaded\n');
      say('a', 1, 'loaded\n');
      runs.apply({ event: 'run_finished', run: 'a', status: 'ok', seconds: 1 });
      begin('b', [0]);
      say('b', 0, last);
    };
    runs.remember();
    tell('step 1\n');
    runs.caughtUp();
    expect(view.look()).toEqual(['# a', '[0-1] loaded', '# b', '[0] step 1']);
    runs.leave(); // the server is gone, the session is not
    expect(view.look()).toEqual(['# a', '[0-1] loaded', '# b', '[0] step 1']);
    runs.remember();
    tell('step 1\nstep 2\n');
    expect(view.look()).toEqual(['# a', '[0-1] loaded', '# b', '[0] step 1', '[0] step 2']);
    runs.caughtUp();
    say('b', 0, 'step 3\n');
    expect(view.look()).toEqual(['# a', '[0-1] loaded', '# b', '[0] step 1', '[0] step 2', '[0] step 3']);
  });

  it('says who else has started a run', () => {
    const { runs, view } = setup();
    const path = '/home/u/train.py';
    for (const by of ['VS Code', 'Neovim']) {
      runs.apply({ event: 'run_queued', run: by, target: 'local', by, queued: '2026-01-02T15:04:05Z' });
      runs.apply({ event: 'run_started', run: by, path, cell: 1, title: 'Train', target: 'local', see: 'all' });
    }
    view.look();
    expect(view.mirror.runs.map(({ head }) => head.place)).toEqual([
      'train.py · cell 1',
      'train.py · cell 1 · by Neovim',
    ]);
  });

  it('has what it would have if it came now, whatever happens', () => {
    let seed = 7;
    const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
    for (let round = 0; round < 40; round++) {
      const { begin, say, runs, view } = setup({
        ...folded,
        choice: (['all', 'seen', 1] as const)[round % 3] ?? 'all',
        sideBySide: round % 2 === 1,
        filter: round % 5 === 4 ? '3' : '',
      });
      const names = ['a', 'b'];
      for (const name of names) {
        begin(name, [0, 1, 2], '0,2');
      }
      for (let i = 0; i < 30; i++) {
        const run = names[random(2)] ?? 'a';
        const rank = random(3);
        for (let n = random(4); n >= 0; n--) {
          say(run, random(3), `line ${random(6)}\n${random(9) === 0 ? '\rbar' : ''}`);
        }
        if (random(8) === 0) {
          runs.apply({ event: 'display', run, rank, clear: true });
        }
        const id = { run, rank, display_id: 'd', data: { 'text/plain': String(random(3)) } };
        runs.apply({ event: 'display', ...id, ...(random(2) === 0 && { update: true }) });
        view.look();
      }
      const keys = view.rows.list.map(rowKey);
      expect(new Set(keys).size).toBe(keys.length);
    }
  });

  it('is told only what is new, and of what changes often the last', () => {
    const runs = new Runs(() => 0);
    let told = 0;
    const deltas = new Deltas(
      runs,
      () => told++,
      () => 1500,
    );
    runs.apply({
      event: 'run_started',
      run: 'a',
      target: 'ranks:0-1',
      see: 'all',
      path: '/x/é.py',
      cell: 3,
      title: 'T',
    });
    expect(told).toBe(1);
    expect(deltas.take()).toMatchObject([
      { key: 1, head: { title: 'T', place: 'é.py · cell 3', target: 'ranks 0-1', running: true, seconds: 1.5 } },
    ]);
    runs.apply({ event: 'stream', run: 'a', rank: 0, name: 'stdout', text: 'a\n' });
    runs.apply({ event: 'stream', run: 'a', rank: 0, name: 'stdout', text: 'b\n' });
    const [update] = deltas.take();
    expect(update?.splices?.map(({ index, removed, added }) => [index, removed, added.length])).toEqual([[0, 0, 2]]);
    expect(deltas.take()).toEqual([]);
  });
});

describe('heights', () => {
  it('say where rows are, and which is where', () => {
    const heights = new Heights();
    heights.replaceFrom(0, 5000, () => 10);
    expect([heights.total, heights.top(7), heights.at(0), heights.at(75), heights.at(1e9)]).toEqual([
      50_000, 70, 0, 7, 4999,
    ]);
    expect(heights.set(3, 110)).toBe(100);
    expect([heights.top(3), heights.top(4), heights.at(139), heights.at(140), heights.total]).toEqual([
      30, 140, 3, 4, 50_100,
    ]);
    heights.replaceFrom(2, 1, () => 5);
    expect([heights.length, heights.total]).toEqual([3, 25]);
    expect(heights.between(0, 10, 1)).toEqual([0, 3]);
    heights.replaceFrom(0, 0, () => 0);
    expect([heights.total, ...heights.between(0, 100, 5)]).toEqual([0, 0, 0]);
  });
});

describe('colours', () => {
  it.each([
    ['plain', [['plain', {}]]],
    [
      '\x1b[1;31ma\x1b[0mb',
      [
        ['a', { bold: true, fg: 1 }],
        ['b', {}],
      ],
    ],
    [
      '\x1b[38;5;28;01ma\x1b[39;00mb',
      [
        ['a', { fg: [0, 135, 0], bold: true }],
        ['b', {}],
      ],
    ],
    [
      '\x1b[38;2;1;2;300ma\x1b[48;5;9mb',
      [
        ['a', { fg: [1, 2, 255] }],
        ['b', { fg: [1, 2, 255], bg: 9 }],
      ],
    ],
    [
      '\x1b[30;43ma\x1b[39;49mb',
      [
        ['a', { fg: 0, bg: 3 }],
        ['b', {}],
      ],
    ],
    [
      '\x1b[94;104ma\x1b[38;5;250mb',
      [
        ['a', { fg: 12, bg: 12 }],
        ['b', { fg: [188, 188, 188], bg: 12 }],
      ],
    ],
    [
      '\x1b[1;2;3;4;7;9ma\x1b[22;23;24;27;29mb',
      [
        ['a', { bold: true, dim: true, italic: true, underline: true, inverse: true, strike: true }],
        ['b', {}],
      ],
    ],
    [
      '\x1b[38;5ma\x1b[mb',
      [
        ['a', { fg: 0 }],
        ['b', {}],
      ],
    ],
  ])('of %j', (text, expected) => {
    expect(spans(text).map((span) => [span.text, span.style])).toEqual(expected);
  });

  it('are the theme’s, where they are of the sixteen', () => {
    expect([css(1), css(15), css([1, 2, 3])]).toEqual([
      'var(--vscode-terminal-ansiRed)',
      'var(--vscode-terminal-ansiBrightWhite)',
      'rgb(1 2 3)',
    ]);
  });
});

describe('texts', () => {
  it.each([
    ['  File "/a b/é.py", line 12, in f', '/a b/é.py', 12],
    ['File ~/x y/train.py:33, in <module>', '~/x y/train.py', 33],
    ['/tmp/x.py:7: UserWarning: careful', '/tmp/x.py', 7],
    ['  /tmp/à b/x.py:7: UserWarning: careful', '/tmp/à b/x.py', 7],
    ['C:\\x\\y.py:7: error', 'C:\\x\\y.py', 7],
    ['(see ./lib/a.pyx:3)', './lib/a.pyx', 3],
  ])('name places: %j', (text, path, line) => {
    expect(placesIn(text).map(({ place }) => place)).toEqual([{ path, line }]);
  });

  it.each(['File "<ipython-input-1>", line 1', 'https://x.org:80', 'time 12:30', 'nothing'])(
    'name no place: %j',
    (text) => {
      expect(placesIn(text)).toEqual([]);
    },
  );

  it('are cut where something begins or ends', () => {
    const cut = pieces('\x1b[31mFile\x1b[0m "/a.py", line 1 is LOUD', { from: 24, to: 26 }, 'loud');
    expect(cut.map((piece) => [piece.text, piece.place?.line, piece.match, piece.differs])).toEqual([
      ['File', 1, undefined, undefined],
      [' "/a.py", line 1', 1, undefined, undefined],
      [' is ', undefined, undefined, undefined],
      ['LO', undefined, true, true],
      ['UD', undefined, true, undefined],
    ]);
  });

  it.each([
    [
      ['loss 0.51 ok', 'loss 0.61 ok'],
      ['0.51', '0.61'],
    ],
    [
      ['a', 'a'],
      [undefined, undefined],
    ],
    [
      ['pid 10', 'pid 100', 'pid 2'],
      ['10', '100', '2'],
    ],
    [
      ['', 'x'],
      ['', 'x'],
    ],
    [
      ['same same', 'same'],
      [' same', ''],
    ],
  ])('differ: %j', (texts, expected) => {
    expect(differences(texts).map((range, i) => range && texts[i]?.slice(range.from, range.to))).toEqual(expected);
  });
});

it.each([
  ['never', [false, false, false, false]],
  ['onError', [false, false, false, true]],
  ['onRich', [false, false, true, true]],
  ['onOutput', [true, true, true, true]],
] as const)('the view comes up %s', (setting, expected) => {
  const rich = (mime: string) => ({ kind: 'rich' as const, data: { 'text/plain': '1', [mime]: 'x' } });
  expect([
    reveals(setting, { kind: 'line', stream: 'stdout', text: 'a' }),
    reveals(setting, rich('text/plain')),
    reveals(setting, rich('image/png')),
    reveals(setting, { kind: 'failure', ename: 'E', evalue: '', traceback: '', frames: [] }),
  ]).toEqual(expected);
});

describe('messages', () => {
  it('of the view are taken if they are of a known form', () => {
    const good = [
      { type: 'ready' },
      { type: 'taken' },
      { type: 'open', path: '/a b.py', line: 3 },
      { type: 'copy', text: 'x' },
      { type: 'goToCell', key: 1 },
    ];
    expect(good.map(fromView)).toEqual(good);
    const bad = [
      undefined,
      'ready',
      { type: 'open', path: 3, line: 3 },
      { type: 'open', path: 'a.py' },
      { type: 'copy', text: null },
      { type: 'interrupt' },
      { type: 'execute', key: 1 },
    ];
    expect(bad.map(fromView)).toEqual(bad.map(() => undefined));
  });

  it('to the view are taken if they are of a known form', () => {
    expect(
      [
        { type: 'update', runs: [] },
        { type: 'do', command: 'wrap' },
      ].map(isToView),
    ).toEqual([true, true]);
    expect([null, { type: 'update' }, { type: 'do', command: 'open' }].map(isToView)).toEqual([false, false, false]);
  });
});
