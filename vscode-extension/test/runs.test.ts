import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { DipEvent } from '../src/generated/server';
import { heading } from '../src/output/transcript';
import { duration, LOCAL, rankList } from '../src/ranks';
import { type Run, Runs, type RunsListener } from '../src/runs';
import { plain } from '../src/screen';
import type { Entry } from '../src/timeline';

/** Runs with a clock that stands still unless it is moved. */
function setup(ranks = 2, budget?: number) {
  const clock = { ms: 0 };
  const runs = new Runs(() => clock.ms, budget);
  const begin = (run = 'r', n = ranks, see = 'all') => {
    runs.apply({ event: 'run_started', run, target: 'remote', see, title: 'Train', cell: 1 });
    for (let rank = 0; rank < n; rank++) {
      runs.apply({ event: 'rank_state', run, rank, state: 'busy' });
    }
  };
  const saying = (rank: number, text: string, name: 'stdout' | 'stderr' = 'stdout', run = 'r') => {
    runs.apply({ event: 'stream', run, ...of(rank), name, text });
  };
  /** Says something that is looked at before anything else is said. */
  const say: typeof saying = (...args) => {
    saying(...args);
    runs.settle();
  };
  const end = (run = 'r') => {
    runs.apply({ event: 'run_finished', run, status: 'ok', seconds: 1 });
  };
  return { runs, clock, begin, say, saying, end, shown: (run = 'r') => shown(runs.get(run)) };
}

function of(rank: number): Pick<DipEvent, 'rank' | 'local'> {
  return rank === LOCAL ? { local: true } : { rank };
}

function text(entry: Entry): string {
  const { output } = entry;
  switch (output.kind) {
    case 'line':
    case 'notice':
      return plain(output.text);
    case 'failure':
      return output.ename;
    case 'rich':
      return `${output.count === undefined ? '' : `Out[${output.count}]: `}${String(output.data['text/plain'])}`;
  }
}

function shown(run: Run | undefined): string[] {
  return (run?.timeline.entries ?? []).map((entry) => `[${rankList(entry.ranks)}] ${text(entry)}`);
}

describe('a run that is skipped', () => {
  it('shows nothing: it has not begun', () => {
    const { runs, begin, end, say, shown } = setup();
    begin();
    say(0, 'epoch 1\n');
    end();
    const before = shown();
    let changes = 0;
    const changed = () => ++changes;
    runs.listen({ changed, spliced: changed, forgotten: changed, live: changed });
    runs.apply({ event: 'run_finished', run: 's', cell: 1, status: 'skipped', seconds: 0, reason: 'cell 4 failed' });
    runs.settle();
    expect(runs.list.map((run) => run.id)).toEqual(['r']);
    expect(shown()).toEqual(before);
    expect(changes).toBe(0);
  });
});

describe('what ranks say', () => {
  it('is there once if they say the same, in whatever pieces it comes', () => {
    const { begin, say, shown } = setup(3);
    begin();
    say(0, 'epoch 1\nepo');
    say(1, 'epoch 1\n');
    say(0, 'ch 2\n');
    say(2, 'epoch 1\nepoch 2\n');
    say(1, 'epoch 2\n');
    expect(shown()).toEqual(['[0-2] epoch 1', '[0-2] epoch 2']);
  });

  it('stands beside what the others said in its place, at the same time lower ranks first', () => {
    const { begin, saying, shown } = setup(2);
    begin();
    saying(1, 'epoch 1\nloss 6\nepoch 2\nloss 4\n');
    saying(0, 'epoch 1\nloss 5\nepoch 2\nloss 3\n');
    expect(shown()).toEqual(['[0-1] epoch 1', '[0] loss 5', '[1] loss 6', '[0-1] epoch 2', '[0] loss 3', '[1] loss 4']);
  });

  it('folds when one rank is ahead with part of it', () => {
    const { begin, say, shown } = setup(3);
    begin();
    say(2, 'hello\npid 2\n');
    say(1, 'hello\npid 1\ngreen\n');
    say(2, 'green\n');
    say(0, 'hello\npid 0\ngreen\n');
    expect(shown()).toEqual(['[0-2] hello', '[0] pid 0', '[1] pid 1', '[2] pid 2', '[0-2] green']);
  });

  it('folds however late a rank is', () => {
    const { begin, say, shown, clock } = setup(2);
    begin();
    say(0, 'epoch 1\nloss 5\nepoch 2\nloss 3\n');
    clock.ms = 60_000;
    say(1, 'epoch 1\nloss 6\nepoch 2\nloss 4\n');
    expect(shown()).toEqual(['[0-1] epoch 1', '[0] loss 5', '[1] loss 6', '[0-1] epoch 2', '[0] loss 3', '[1] loss 4']);
  });

  it('folds however much a rank is behind, in whatever pieces it comes', () => {
    const { begin, say, shown, clock } = setup(3);
    const n = 300;
    begin();
    for (const rank of [0, 2, 1]) {
      for (let i = 0; i < n; i++) {
        clock.ms += 50;
        say(rank, `line ${i} of ${rank}\n`);
        say(rank, `line ${i}\n`);
      }
    }
    expect(shown()).toEqual(
      Array.from({ length: n }, (_, i) => [
        ...[0, 1, 2].map((rank) => `[${rank}] line ${i} of ${rank}`),
        `[0-2] line ${i}`,
      ]).flat(),
    );
  });

  it('stays where one sees it if nothing else says where it belongs', () => {
    const { begin, say, shown, clock } = setup(2);
    begin();
    say(0, 'a\nb\nc\n');
    clock.ms = 60_000;
    say(1, 'x\n');
    expect(shown()).toEqual(['[0] a', '[0] b', '[0] c', '[1] x']);
  });

  it('keeps blocks of differing lines together', () => {
    const { begin, say, shown } = setup(2);
    begin();
    say(0, 'a1\na2\na3\n');
    say(1, 'b1\nb2\n');
    expect(shown()).toEqual(['[0] a1', '[0] a2', '[1] b1', '[1] b2', '[0] a3']);
  });

  it('keeps the order of every rank, whatever the ranks say', () => {
    let seed = 1;
    const random = (n: number): number => (seed = (seed * 48271) % 0x7fffffff) % n;
    for (let round = 0; round < 60; round++) {
      const ranks = 1 + random(4);
      const { begin, say, runs, clock } = setup(ranks);
      begin('r', ranks);
      const said = Array.from({ length: ranks }, (): string[] => []);
      for (let i = 0; i < 120; i++) {
        const rank = random(ranks);
        const lines = Array.from({ length: 1 + random(5) }, () => `line ${random(12)}`);
        clock.ms += random(400);
        said[rank]?.push(...lines);
        say(rank, lines.join('\n') + '\n');
      }
      const entries = runs.get('r')?.timeline.entries ?? [];
      for (let rank = 0; rank < ranks; rank++) {
        expect(entries.filter((entry) => entry.ranks.includes(rank)).map(text)).toEqual(said[rank]);
      }
    }
  });

  it('is told apart by stream, and the local namespace stays apart', () => {
    const { begin, say, shown } = setup(2);
    begin();
    say(LOCAL, 'a\n');
    say(0, 'a\n');
    say(1, 'a\n', 'stderr');
    expect(shown()).toEqual(['[local] a', '[0] a', '[1] a']);
  });

  it('is one entry for failures that are the same, and values that are the same', () => {
    const { runs, begin, shown } = setup(3);
    begin();
    for (const [rank, value] of ['1', '2', '1'].entries()) {
      runs.apply({ event: 'result', run: 'r', rank, execution_count: 4, data: { 'text/plain': value } });
      runs.apply({
        event: 'error',
        run: 'r',
        rank,
        ename: 'E',
        evalue: 'x',
        traceback: [`rank ${rank}`],
        frames: [{ file: 'a', line: 1, name: 'f' }],
      });
    }
    expect(shown()).toEqual(['[0,2] Out[4]: 1', '[1] Out[4]: 2', '[0-2] E']);
  });
});

describe('failures that differ by numbers', () => {
  it('are one, with what differs below', () => {
    const { runs, begin } = setup(4);
    begin();
    for (const [rank, loss] of ['-1.5e-07 at 0x7f01', 'nan at 0x7f02', '3 at 0x7f03', 'nan at 0x7f02'].entries()) {
      runs.apply({
        event: 'error',
        run: 'r',
        rank,
        ename: 'E',
        evalue: `bad:\nloss ${loss}`,
        traceback: [`rank ${rank}`],
        frames: [{ file: 'a', line: 1, name: 'f' }],
      });
    }
    const entries = (runs.get('r')?.timeline.entries ?? []).map(({ ranks, output }) => [
      ranks.join(),
      output.kind === 'failure' ? output.traceback : '',
    ]);
    expect(entries).toEqual([
      ['0,1,2,3', 'rank 0'],
      ['1,3', 'E: loss nan at 0x7f02'],
      ['2', 'E: loss 3 at 0x7f03'],
    ]);
  });
});

describe('progress bars', () => {
  it('are one live line, folded, until they are over', () => {
    const { runs, begin, say, shown } = setup(2);
    begin();
    for (const rank of [0, 1]) {
      say(rank, '\r 10%', 'stderr');
      say(rank, '\r 20%', 'stderr');
    }
    expect(runs.get('r')?.live()).toEqual([{ ranks: [0, 1], stream: 'stderr', text: ' 20%' }]);
    say(0, '\r100%\n', 'stderr');
    say(0, 'done\n');
    expect(shown()).toEqual(['[0] 100%', '[0] done']);
    runs.apply({ event: 'rank_state', run: 'r', rank: 1, state: 'ready', status: 'ok', seconds: 1 });
    expect(shown()).toEqual(['[0] 100%', '[1]  20%', '[0] done']);
    expect(runs.get('r')?.live()).toEqual([]);
  });
});

describe('displays', () => {
  const display = (rank: number, value: string, more: object = {}): DipEvent => ({
    event: 'display',
    run: 'r',
    rank,
    data: { 'text/plain': value },
    ...more,
  });

  it('are updated in their place, each rank its own, and fold again', () => {
    const { runs, begin, say, shown } = setup(2);
    begin();
    for (const rank of [0, 1]) {
      runs.apply(display(rank, 'a', { display_id: 'd' }));
      say(rank, 'below\n');
    }
    expect(shown()).toEqual(['[0-1] a', '[0-1] below']);
    runs.apply(display(1, 'b', { display_id: 'd', update: true }));
    expect(shown()).toEqual(['[0] a', '[1] b', '[0-1] below']);
    runs.apply(display(0, 'b', { display_id: 'd', update: true }));
    expect(shown()).toEqual(['[0-1] b', '[0-1] below']);
  });

  it('are updated wherever they were shown', () => {
    const { runs, begin, shown } = setup(1);
    begin('r', 1);
    runs.apply(display(0, 'a', { display_id: 'd' }));
    runs.apply(display(0, 'a', { display_id: 'd' }));
    runs.apply(display(0, 'b', { display_id: 'd', update: true }));
    expect(shown()).toEqual(['[0] b', '[0] b']);
  });

  it('are cleared, at once or when something else comes, and only those of the process', () => {
    const { runs, begin, say, shown } = setup(2);
    begin();
    say(0, 'a\n\r50%');
    say(1, 'a\n');
    runs.apply({ event: 'display', run: 'r', rank: 0, clear: true, wait: true });
    expect(shown()).toEqual(['[0-1] a']);
    say(0, 'b\n');
    expect(shown()).toEqual(['[0] b', '[1] a']);
    runs.apply({ event: 'display', run: 'r', rank: 0, clear: true });
    expect(shown()).toEqual(['[1] a']);
  });
});

describe('runs', () => {
  it('begin, have parts, and end', () => {
    const { runs, begin, end } = setup(2);
    begin();
    const run = runs.get('r');
    expect(run?.running).toBe(true);
    expect(runs.current(1)).toBe(run);
    runs.apply({ event: 'rank_state', run: 'r', rank: 1, state: 'ready', status: 'ok', seconds: 0.5 });
    expect(runs.current(1)).toBeUndefined();
    expect(run?.parts.get(1)).toEqual({ rank: 1, state: 'ready', status: 'ok', seconds: 0.5 });
    end();
    expect([run?.running, run?.status, run?.seconds]).toEqual([false, 'ok', 1]);
  });

  it('show the ranks that they want seen, and the local namespace', () => {
    const { runs, begin } = setup(4);
    begin('r', 4, '0,2-3');
    expect([LOCAL, 0, 1, 2, 3].filter((rank) => runs.get('r')?.shows(rank))).toEqual([LOCAL, 0, 2, 3]);
    runs.apply({ event: 'run_started', run: 's', target: 'remote', see: 'host:gpu2' });
    for (const rank of [0, 1]) {
      runs.apply({
        event: 'rank_state',
        run: 's',
        rank,
        state: 'busy',
        ...(rank === 1 && { host: 'gpu2', seen: true }),
      });
    }
    expect([LOCAL, 0, 1].filter((rank) => runs.get('s')?.shows(rank))).toEqual([LOCAL, 1]);
  });

  it('tell of a death once, also when nothing runs', () => {
    const { runs, begin, end, shown } = setup(1);
    const reason = 'rank 0 was killed by SIGKILL';
    begin();
    end();
    runs.apply({ event: 'rank_state', rank: 0, state: 'dead', reason });
    runs.apply({ event: 'pool_state', state: 'dead', size: 1, reason });
    expect(shown()).toEqual([]);
    expect(shown('')).toEqual([`[0] ${reason}`]);
  });

  it('lose the oldest outputs once there are too many', () => {
    const { runs, begin, say, end } = setup(1, 10_000);
    begin('a', 1);
    say(0, 'x\n'.repeat(30), 'stdout', 'a');
    end('a');
    begin('b', 1);
    say(0, 'y\n'.repeat(100), 'stdout', 'b');
    const [a, b] = runs.list as [Run, Run];
    expect([a.timeline.entries.length, a.elided]).toEqual([0, 30]);
    expect(b.timeline.entries.length + b.elided).toBe(100);
    expect(b.elided).toBeGreaterThan(0);
    expect(b.timeline.bytes).toBeLessThanOrEqual(10_000);
  });

  it('are forgotten, but for those that go on', () => {
    const { runs, begin, end } = setup(1);
    begin('a');
    end('a');
    begin('b');
    runs.clear();
    expect(runs.list.map((run) => run.id)).toEqual(['b']);
  });

  it('end with the server', () => {
    const { runs, clock, begin, say, shown } = setup(2);
    begin();
    say(0, '\r50%');
    clock.ms = 3000;
    runs.lost();
    const run = runs.get('r');
    expect([run?.running, run?.status, run?.seconds, run?.live()]).toEqual([false, 'died', 3, []]);
    expect([...(run?.parts.values() ?? [])].map(({ status }) => status)).toEqual(['died', 'died']);
    expect(shown()).toEqual(['[0] 50%', '[] the server has ended, and Python with it']);
    runs.lost();
    expect(shown()).toHaveLength(2);
  });

  it('began when their session says, not when a window was told', () => {
    const { runs, clock } = setup();
    clock.ms = Date.parse('2026-01-02T15:30:00Z');
    runs.apply({ event: 'run_started', run: 'r', target: 'local', see: 'all', began: '2026-01-02T15:04:05Z' });
    expect(runs.get('r')?.started).toBe(Date.parse('2026-01-02T15:04:05Z'));
  });

  it('are of those who have started them', () => {
    const { runs, begin } = setup();
    const queued = '2026-01-02T15:04:05Z';
    runs.apply({ event: 'run_queued', run: 'r', target: 'remote', by: 'Neovim', queued });
    runs.apply({ event: 'run_queued', run: 'never', target: 'remote', by: 'Neovim', queued });
    expect(runs.list).toEqual([]); // its turn has not come
    begin();
    runs.apply({ event: 'run_finished', run: 'never', status: 'skipped', seconds: 0 });
    expect(runs.list.map(({ id, by }) => [id, by])).toEqual([['r', 'Neovim']]);
  });

  it('tell of every change: a mirror that follows them is the same', () => {
    const { runs, begin, say, end } = setup(3);
    const mirror: Entry[] = [];
    const told: string[] = [];
    const listener: RunsListener = {
      spliced: (_, index, removed, added) => mirror.splice(index, removed, ...added),
      changed: (run) => told.push(run.id),
    };
    const stop = runs.listen(listener);
    begin();
    say(0, 'a\nb\nc\n');
    say(2, 'b\nd\n');
    say(1, 'a\nx\nc\n');
    runs.apply({ event: 'display', run: 'r', rank: 0, clear: true });
    expect(mirror).toEqual(runs.get('r')?.timeline.entries);
    expect(mirror.map(text)).toEqual(['a', 'b', 'x', 'c', 'd']);
    stop();
    const before = told.length;
    end();
    expect(told.length).toBe(before);
  });
});

/** What a session tells whoever attaches: a run that has ended, and one that goes on. */
const history: readonly DipEvent[] = [
  { event: 'log', level: 'warning', text: 'while nobody was attached: nothing was installed' },
  { event: 'run_queued', run: 'a', target: 'remote', by: 'VS Code', queued: '1970-01-01T00:00:01Z' },
  { event: 'run_started', run: 'a', target: 'remote', see: 'all', began: '1970-01-01T00:00:01Z' },
  { event: 'rank_state', run: 'a', rank: 0, state: 'busy' },
  { event: 'stream', run: 'a', rank: 0, name: 'stdout', text: 'loaded\n' },
  { event: 'rank_state', run: 'a', rank: 0, state: 'ready', status: 'ok', seconds: 1 },
  { event: 'run_finished', run: 'a', status: 'ok', seconds: 1 },
  { event: 'run_started', run: 'b', target: 'remote', see: 'all', began: '1970-01-01T00:00:02Z' },
  { event: 'rank_state', run: 'b', rank: 0, state: 'busy' },
  { event: 'stream', run: 'b', rank: 0, name: 'stdout', text: 'epoch 1\n' },
  { event: 'stream', run: 'b', rank: 0, name: 'stderr', text: '\r10%' },
];
const live: readonly DipEvent[] = [
  { event: 'stream', run: 'b', rank: 0, name: 'stderr', text: '\r90%\n' },
  { event: 'stream', run: 'b', rank: 0, name: 'stdout', text: 'epoch 2\n' },
  { event: 'rank_state', run: 'b', rank: 0, state: 'ready', status: 'ok', seconds: 5 },
  { event: 'run_finished', run: 'b', status: 'ok', seconds: 5 },
];

describe('the history of a session', () => {
  const remember = (runs: Runs, events: readonly DipEvent[] = history) => {
    runs.remember();
    events.forEach((event) => {
      runs.apply(event);
    });
    runs.caughtUp();
  };
  const all = (runs: Runs) => runs.list.map((run) => [run.id, run.status, ...shown(run)]);
  const notice = '[] while nobody was attached: nothing was installed';
  const whole = [
    ['', undefined, notice],
    ['a', 'ok', '[0] loaded'],
    ['b', 'ok', '[0] epoch 1', '[0] 90%', '[0] epoch 2'],
  ];

  it('looks as if one had always been there, and goes on', () => {
    const { runs } = setup();
    remember(runs);
    expect(all(runs)).toEqual([whole[0], whole[1], ['b', undefined, '[0] epoch 1']]);
    expect(
      runs
        .get('b')
        ?.live()
        .map(({ text }) => text),
    ).toEqual(['10%']);
    live.forEach((event) => {
      runs.apply(event);
    });
    expect(all(runs)).toEqual(whole);
  });

  it('says what is gone of it, whenever that is told', () => {
    const { runs, begin, end } = setup();
    const gone = 'not run since the restart';
    runs.remember();
    runs.lose([{ run: 'a', gone }]); // the server knows before it has told all
    history.forEach((event) => {
      runs.apply(event);
    });
    runs.caughtUp();
    begin();
    end();
    const told: string[] = [];
    runs.listen({ changed: ({ id }) => told.push(id) });
    runs.lose([{ run: 'r', gone }]);
    runs.lose([{ run: 'r', gone }]);
    expect(runs.list.map((run) => [run.id, run.gone])).toEqual([
      ['', undefined],
      ['a', gone],
      ['b', undefined],
      ['r', gone],
    ]);
    expect(told).toEqual(['r']);
  });

  it('is not there twice after another server has told it, at whatever point the first one ended', () => {
    const events = [...history, ...live];
    for (let seen = 0; seen <= events.length; seen++) {
      const { runs } = setup();
      remember(runs, events.slice(0, Math.min(seen, history.length)));
      events.slice(history.length, seen).forEach((event) => {
        runs.apply(event);
      });
      runs.leave();
      expect(runs.list.filter(({ status }) => status === 'died')).toEqual([]);
      remember(runs, events);
      expect(all(runs), `after ${seen} events`).toEqual(whole);
    }
  });

  it('tells of runs that had seemed to be dead', () => {
    const { runs } = setup();
    remember(runs);
    runs.lost();
    expect(runs.get('b')?.status).toBe('died');
    remember(runs);
    expect(runs.get('b')?.running).toBe(true);
  });

  it('leaves more of an ended run than the session has kept', () => {
    const { runs } = setup();
    remember(runs);
    remember(runs, [
      { event: 'run_started', run: 'a', target: 'remote', see: 'all' },
      { event: 'log', run: 'a', level: 'info', text: '7 bytes of rank 0 are in the journal only' },
      { event: 'run_finished', run: 'a', status: 'ok', seconds: 1 },
    ]);
    expect(shown(runs.get('a'))).toEqual(['[0] loaded']);
  });

  it('ends runs that it does not tell of: their session is gone', () => {
    const { runs } = setup();
    remember(runs);
    runs.leave();
    remember(runs, []);
    expect(runs.get('b')?.status).toBe('died');
    expect(shown(runs.get('b')).at(-1)).toBe('[] the session has ended, and Python with it');
  });

  it('is told as the past, also to those who are told later of what it has put out', () => {
    const { runs } = setup();
    const told: boolean[] = [];
    runs.listen({
      spliced: () => {
        told.push(runs.past);
      },
    });
    remember(runs);
    expect([...new Set(told)]).toEqual([true]);
    expect(runs.past).toBe(false);
  });

  it('goes when another session is shown', () => {
    const { runs } = setup();
    remember(runs);
    runs.leave();
    runs.forgetWhere(({ id }) => id !== '');
    runs.caughtUp();
    expect(all(runs)).toEqual([whole[0]]);
  });
});

describe('what ranks wait for', () => {
  const hang = {
    event: 'hang',
    run: 'r',
    hang: 1,
    variant: 'finished',
    level: 'warning',
    text: 'ranks 0 and 2 wait for rank 1',
  } as const;

  it('is known until it is over, and the run at the latest', () => {
    const { runs, begin, end } = setup(3);
    const changed: string[] = [];
    runs.listen({ changed: (run) => changed.push(`${run.id}: ${run.hangs.size}`) });
    begin();
    changed.length = 0;
    runs.apply({ ...hang, level: 'info' });
    runs.apply(hang);
    runs.apply({ ...hang, hang: 2 });
    runs.apply({ ...hang, hang: 2, gone: true, text: '' });
    expect(runs.get('r')?.hangs.get(1)).toEqual(hang);
    end();
    runs.apply(hang);
    expect(changed).toEqual(['r: 1', 'r: 1', 'r: 2', 'r: 1', 'r: 0', 'r: 0']);
  });

  it('is put out once it is an alarm, and once', () => {
    const { runs, begin, shown } = setup(3);
    begin();
    runs.apply({ ...hang, level: 'info', text: 'rank 1 is slow' });
    runs.apply(hang);
    runs.apply({ ...hang, text: 'better known' });
    runs.settle();
    expect(shown()).toEqual(['[] hang? ranks 0 and 2 wait for rank 1']);
  });
});

interface Example {
  readonly name: string;
  readonly events: readonly DipEvent[];
  readonly run: {
    readonly state: string;
    readonly parts: readonly (readonly [number | 'local', string, string])[];
    readonly status?: string;
    readonly seconds?: number;
    readonly hangs: readonly number[];
  };
  readonly texts: Readonly<Record<string, string>>;
}

const examples = (
  JSON.parse(readFileSync(new URL('../../testdata/runs.json', import.meta.url), 'utf8')) as { runs: Example[] }
).runs;

describe('the examples that the server is held to, too', () => {
  it.each(examples.filter(({ events }) => events[0]?.event === 'run_started').map((x) => [x.name, x] as const))(
    '%s',
    (_, x) => {
      const runs = new Runs(() => 0);
      for (const event of x.events) {
        runs.apply(event);
      }
      const run = runs.get('r');
      expect(run).toBeDefined();
      if (!run) {
        return;
      }
      expect(run.running).toBe(x.run.state === 'running');
      expect(run.status).toBe(x.run.status);
      expect(run.seconds).toBe(x.run.seconds);
      expect([...run.hangs.keys()].sort()).toEqual(x.run.hangs);
      const parts = [...run.parts.values()].sort((a, b) => a.rank - b.rank);
      expect(parts.map((p) => [p.rank === LOCAL ? 'local' : p.rank, p.state, p.status ?? ''])).toEqual(x.run.parts);
      if (x.texts['title'] !== undefined) {
        expect(heading(run.event)).toBe(x.texts['title']);
      }
      if (x.texts['took'] !== undefined) {
        expect(duration(x.run.seconds ?? 0)).toBe(x.texts['took']);
      }
    },
  );
});
