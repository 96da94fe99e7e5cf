import { describe, expect, it, vi } from 'vitest';
import type {
  DipEvent,
  PoolStatus,
  RankStatus,
  StatusReply,
  VariablesReply,
  WorkspaceStatus,
  FailureEvent,
  HangEvent,
  RunFinishedEvent,
  RunStartedEvent,
} from '../src/generated/server';
import { ends, question } from '../src/pool/losses';
import { badCount, badGpus, menuItems } from '../src/pool/menuItems';
import { Failures } from '../src/pool/failures';
import { ended } from '../src/pool/longRuns';
import { foldedPlaces, places } from '../src/pool/places';
import { Pools } from '../src/pool/pools';
import {
  hangsOf,
  hosts,
  poolMessage,
  processDetails,
  type Process,
  processIcon,
  processes,
  processText,
  ranksToChoose,
  statusText,
  statusTooltip,
  workspaceOf,
} from '../src/pool/rows';
import { Runs } from '../src/runs';
import { bytes, count, escaped } from '../src/pool/words';

function rank(n: number, more: Partial<RankStatus> = {}): RankStatus {
  return {
    rank: n,
    pid: 4711 + n,
    device: `cuda:${n}`,
    state: 'ready',
    host: 'gpu7',
    host_bytes: null,
    gpu_bytes: null,
    run: null,
    ...more,
  };
}

function workspace(
  pool: Partial<PoolStatus> = {},
  runs: WorkspaceStatus['runs'] = [],
  folder = '/home/u/project',
): WorkspaceStatus {
  const size = pool.size ?? pool.ranks?.length ?? 0;
  return {
    folder,
    session: null,
    runs,
    pool: {
      state: size > 0 ? 'ready' : 'none',
      reason: '',
      size,
      backend: size > 0 ? 'nccl' : '',
      app: size > 0 ? 'torch' : '',
      method: size > 0 ? 'fork' : '',
      verbose: false,
      autodip: '',
      ranks: [],
      local: null,
      ...pool,
    },
  };
}

function tooltip(shown: WorkspaceStatus | undefined, several = false): string {
  return statusTooltip(shown, several, undefined, 0);
}

const local = { pid: 4700, state: 'ready', host: 'gpu7', host_bytes: null, run: null } as const;
const four = workspace({ ranks: [0, 1, 2, 3].map((n) => rank(n)), local });
const running = { run: 'a-1', state: 'running', done: 0, parts: 4 } as const;
const queued = { run: 'a-2', state: 'queued', done: 0, parts: 0 } as const;

describe('words', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1234, '1.2 kB'],
    [999_600, '1.0 MB'],
    [183_500_800, '184 MB'],
    [85_520_809_984, '85.5 GB'],
  ])('says %d bytes', (n, text) => {
    expect(bytes(n)).toBe(text);
  });

  it('counts', () => {
    expect([count(1, 'rank'), count(0, 'rank'), count(4, 'rank')]).toEqual(['1 rank', '0 ranks', '4 ranks']);
  });

  it('keeps text from being Markdown', () => {
    expect(escaped('__init__ [a](b) <b>')).toBe('\\_\\_init\\_\\_ \\[a\\]\\(b\\) \\<b\\>');
  });
});

describe('status bar', () => {
  it.each<[string, WorkspaceStatus | undefined, string, string]>([
    ['nothing', undefined, 'Dip', 'idle'],
    ['no pool', workspace({ local }), 'Dip', 'idle'],
    ['autodip without a pool', workspace({ autodip: '%%dip' }), 'Dip: no pool · autodip on', 'idle'],
    ['starting', workspace({ state: 'starting', size: 4 }), 'Dip: starting 4 ranks', 'starting'],
    ['a pool', four, 'Dip: 4 ranks · autodip off', 'idle'],
    ['autodip', workspace({ ranks: [rank(0)], autodip: '%%dip --see all' }), 'Dip: 1 rank · autodip on', 'idle'],
    ['a run', workspace({ ranks: [rank(0)], state: 'busy' }, [running]), 'Dip: 1 rank · autodip off', 'running'],
    ['runs', workspace({ ranks: [rank(0)] }, [running, queued]), 'Dip: 1 rank · autodip off · 2 runs', 'running'],
    [
      'a run of which a rank has failed',
      workspace({ ranks: [rank(0)], state: 'busy' }, [{ ...running, failed: 'rank 1: ValueError' }]),
      'Dip: 1 rank · autodip off · ✗ rank 1: ValueError',
      'running',
    ],
    ['local runs', workspace({ local }, [running, queued]), 'Dip: 2 runs', 'running'],
    ['dead', workspace({ state: 'dead', size: 4 }, [running]), 'Dip: pool dead', 'dead'],
  ])('tells of %s', (_, shown, text, mood) => {
    expect(statusText(shown)).toEqual({ text, mood });
  });

  it('explains', () => {
    const text = tooltip({ ...four, runs: [running, queued] });
    expect(text).toContain('**Pool of 4 ranks** on cuda:0-3 over nccl, app torch');
    expect(text).toContain('1 run now, 1 queued');
    expect(text).not.toContain('/home/u/project');
    expect(tooltip(four, true)).toContain('/home/u/project');
  });

  it('shows what processes say of themselves as text', () => {
    const evil = '![i](http://evil/i.png) `[l](http://evil)`';
    const pool = { ranks: [rank(0, { device: evil })], backend: evil, app: evil, reason: evil, autodip: evil };
    const text = tooltip(workspace(pool));
    // Outside of code spans every mark is escaped; the span of autodip is not left.
    for (const line of text.split('\n').filter((line) => line.includes('evil'))) {
      const outside = line.replace(/(?<!\\)`[^`]*(?<!\\)`/g, '');
      expect(outside).not.toMatch(/(?<!\\)[![\]`]/);
    }
  });

  it('says why a pool is dead', () => {
    const reason = 'rank 2 was killed by SIGKILL';
    expect(tooltip(workspace({ state: 'dead', size: 4, reason }))).toContain('rank 2 was killed by SIGKILL');
  });
});

describe('the workspace that is meant', () => {
  const other = workspace({}, [], '/home/u/other');

  it('is that of the folder', () => {
    expect(workspaceOf([other, four], '/home/u/project')).toBe(four);
    expect(workspaceOf([other, four], '/elsewhere')).toBeUndefined();
  });

  it('is one in which something lives where no folder is known', () => {
    expect(workspaceOf([other, four], undefined)).toBe(four);
    expect(workspaceOf([other], undefined)).toBe(other);
    expect(workspaceOf([], undefined)).toBeUndefined();
  });
});

describe('rows of processes', () => {
  const work = { run: 'a-1', cell: 3, title: 'Train', seconds: 12 };

  it('are the local namespace and the ranks, a while after they were told', () => {
    const memory = { host: 1.5e9, gpu: 4e9, load: null, past: [] };
    const all = processes(
      workspace({ local, ranks: [rank(0, { state: 'busy', run: work }), rank(1)], state: 'busy' }),
      ({ pid }) => (pid === 4711 ? memory : undefined),
      3,
    );
    expect(all.map(processText)).toEqual([
      'ready · pid 4700',
      'cell 3 “Train” · 15 s · cuda:0 · 1.5 GB · GPU 4.0 GB · pid 4711',
      'ready · cuda:1 · pid 4712',
    ]);
    expect(all[1] && processDetails(all[1])).toEqual([
      { label: 'state', value: 'busy' },
      { label: 'runs', value: 'cell 3 “Train” · 15 s' },
      { label: 'pid', value: '4711' },
      { label: 'device', value: 'cuda:0' },
      { label: 'memory', value: '1.5 GB' },
      { label: 'GPU memory', value: '4.0 GB' },
    ]);
  });

  it('have graphs of what was sampled while somebody looked', () => {
    const sample = (load: number | null, gpu: number) => ({ host: 1e9, gpu, load });
    const memory = { ...sample(87, 4e9), past: [sample(0, 1e9), sample(null, 2e9), sample(50, 2e9)] };
    const [shown] = processes(workspace({ ranks: [rank(0)] }), () => memory, 0);
    expect(shown && processText(shown)).toBe('ready · cuda:0 · 1.0 GB · GPU 4.0 GB · GPU 87 % busy · pid 4711');
    expect(shown && processDetails(shown).slice(-3)).toEqual([
      { label: 'memory', value: '1.0 GB  ████', spoken: '1.0 GB, the same before' },
      { label: 'GPU memory', value: '4.0 GB  ▃▅▅█', spoken: '4.0 GB, 1.0 GB to 4.0 GB before' },
      { label: 'GPU busy', value: '87 %  ▁ ▅▇', spoken: '87 %, 0 % to 87 % before' },
    ]);
  });

  it('say what runs that is no cell, and that it was asked to stop', () => {
    const [shown] = processes(
      workspace({ local: { ...local, state: 'interrupting', run: { run: 'a-1', title: '%dipush x', seconds: 0.5 } } }),
      () => undefined,
      0,
    );
    expect(shown && processText(shown)).toBe('interrupting %dipush x · 0.5 s · pid 4700');
  });

  it('are below their hosts where these are other machines', () => {
    const far = workspace({
      local,
      ranks: [rank(0, { host: 'gpu1' }), rank(1, { host: 'gpu2', state: 'dead' })],
      state: 'dead',
      reason: 'rank 1 (gpu2) died: host gpu2 lost: no answer for 60 s',
      hosts: [
        { host: 'gpu1', state: 'reachable', clock: 0.25 },
        { host: 'gpu2', state: 'lost', reason: 'host gpu2 lost: no answer for 60 s', clock: -3 },
      ],
    });
    const all = processes(far, () => ({ host: 2e9, gpu: null, load: null, past: [] }), 0);
    expect(all.at(-1) && processText(all.at(-1) as Process)).toBe('dead: host gpu2 lost: no answer for 60 s');
    expect(hosts(far, all)).toEqual([
      {
        name: 'gpu1',
        text: '1 rank · 1 GPU · 2.0 GB',
        tooltip: 'reachable\n1 rank\n1 GPU\n2.0 GB\nclock 0.3 s ahead',
        icon: 'vm',
        ranks: [0],
      },
      {
        name: 'gpu2',
        text: 'lost · 1 rank · 1 GPU · 2.0 GB · clock 3.0 s behind',
        tooltip: 'host gpu2 lost: no answer for 60 s\n1 rank\n1 GPU\n2.0 GB\nclock 3.0 s behind',
        icon: 'vm',
        color: 'errorForeground',
        ranks: [1],
      },
    ]);
    expect(hosts(workspace({ ranks: [rank(0)] }), all)).toEqual([]);
  });

  it('are not shown as ready while their host does not answer', () => {
    const silent = workspace({
      ranks: [rank(0, { host: 'gpu1' }), rank(1, { host: 'gpu2' })],
      hosts: [
        { host: 'gpu1', state: 'reachable', clock: 0 },
        { host: 'gpu2', state: 'unreachable', clock: 0 },
      ],
    });
    expect(processes(silent, () => undefined, 0).map((process) => processIcon(process).icon)).toEqual([
      'circle-filled',
      'question',
    ]);
  });

  it('are offered by their hosts, too, where there are several', () => {
    const [gpu1, gpu2] = ['gpu1', 'gpu2'];
    expect(
      ranksToChoose([
        { rank: 0, host: gpu1 },
        { rank: 1, host: gpu2 },
        { rank: 2, host: gpu2 },
      ]),
    ).toEqual([
      { label: 'all ranks', ranks: 'all' },
      { label: 'host gpu1', description: 'rank 0', ranks: 'host:gpu1' },
      { label: 'host gpu2', description: 'ranks 1-2', ranks: 'host:gpu2' },
      { label: 'first rank of each host', ranks: 'each:0' },
      { label: 'rank 0 (gpu1)', ranks: '0' },
      { label: 'rank 1 (gpu2)', ranks: '1' },
      { label: 'rank 2 (gpu2)', ranks: '2' },
    ]);
    expect(
      ranksToChoose([
        { rank: 0, host: gpu1 },
        { rank: 1, host: gpu1 },
      ]).map(({ label }) => label),
    ).toEqual(['all ranks', 'rank 0', 'rank 1']);
  });

  it('give the reason to the rank that it is about', () => {
    const reason = 'rank 1 was killed by SIGKILL';
    const dead = workspace({
      state: 'dead',
      reason,
      ranks: [rank(0, { state: 'stopped' }), rank(1, { state: 'dead' })],
    });
    expect(processes(dead, () => undefined, 0).map(processText)).toEqual([
      'stopped · cuda:0 · pid 4711',
      'dead: was killed by SIGKILL',
    ]);
  });
});

describe('ranks that wait', () => {
  const hang: HangEvent = {
    event: 'hang',
    run: 'a-1',
    hang: 1,
    variant: 'elsewhere',
    level: 'warning',
    operation: 'all_reduce',
    waiting: [{ ranks: [0, 2], path: '/home/u/train.py', line: 41, why: 'in all_reduce' }],
    missing: [{ ranks: [1], path: '/home/u/data.py', line: 88, why: 'in next(loader)' }],
    text: 'ranks 0,2 wait_for rank 1',
  };
  const work = { run: 'a-1', cell: 3, title: 'Train', seconds: 12 };
  const busy = { state: 'busy', run: work } as const;
  const hung = workspace({ ranks: [rank(0, busy), rank(1), rank(2, busy), rank(3, busy)], state: 'busy' }, [
    { ...running, hang: hang.text },
    queued,
  ]);

  it('are those of the runs of the workspace', () => {
    expect(hangsOf(hung, (run) => (run === 'a-1' ? [hang] : []))).toEqual([hang]);
    expect(hangsOf(four, () => [hang])).toEqual([]);
    expect(hangsOf(undefined, () => [hang])).toEqual([]);
  });

  it('say so in their rows, first of all', () => {
    const rows = processes(hung, () => undefined, 0, [hang]);
    expect(rows.map(processText)).toEqual([
      'waits in all_reduce at train.py:41 · cell 3 “Train” · 12 s · cuda:0 · pid 4711',
      'missing: in next(loader) at data.py:88 · ready · cuda:1 · pid 4712',
      'waits in all_reduce at train.py:41 · cell 3 “Train” · 12 s · cuda:2 · pid 4713',
      'cell 3 “Train” · 12 s · cuda:3 · pid 4714',
    ]);
    expect(rows[1] && processDetails(rows[1])[0]).toEqual({
      label: 'hang',
      value: 'missing: in next(loader) at data.py:88',
    });
    expect(rows.map((row) => processIcon(row).icon)).toEqual(['warning', 'warning', 'warning', 'loading~spin']);
    const slow = processes(hung, () => undefined, 0, [{ ...hang, level: 'info' }]);
    expect(slow.map((row) => processIcon(row).icon)).toEqual([
      'loading~spin',
      'circle-filled',
      'loading~spin',
      'loading~spin',
    ]);
  });

  it('are in the status bar, unless they are only slow', () => {
    expect(statusText(hung, [hang])).toEqual({
      text: 'Dip: 4 ranks · autodip off · 2 runs · hang? ranks 0,2 wait for rank 1',
      mood: 'hung',
    });
    expect(statusText(hung, [{ ...hang, level: 'info' }]).mood).toBe('running');
    expect(tooltip(hung)).toContain('ranks 0,2 wait\\_for rank 1');
  });

  it('can be freed from the menu', () => {
    const labels = (shown: WorkspaceStatus): string[] =>
      menuItems(shown).flatMap(({ items }) => items.map(({ label }) => label));
    expect(labels(hung)[0]).toBe('Free ranks');
    expect(labels(four)).not.toContain('Free ranks');
  });

  it('are asked about again when they do', async () => {
    vi.useFakeTimers();
    const ask = vi.fn(() => Promise.resolve({ workspaces: [] }));
    const pools = new Pools(ask);
    pools.apply(hang);
    await vi.advanceTimersByTimeAsync(1000);
    expect(ask).toHaveBeenCalledOnce();
    // So are hosts, of which only a sentence tells.
    pools.apply({ event: 'log', level: 'warning', text: 'gpu2 does not answer' });
    await vi.advanceTimersByTimeAsync(1000);
    expect(ask).toHaveBeenCalledTimes(2);
    pools.apply({ event: 'log', run: 'a-1', level: 'info', text: 'of a run' });
    await vi.advanceTimersByTimeAsync(1000);
    expect(ask).toHaveBeenCalledTimes(2);
    vi.useRealTimers();
  });
});

describe('the message above the rows', () => {
  it('says what is not as it should be', () => {
    const { pool } = workspace({ state: 'dead', size: 4, reason: 'rank 2 was killed by SIGKILL' });
    expect(poolMessage(pool)).toBe('The pool is dead: rank 2 was killed by SIGKILL. Restart it to go on.');
    expect(poolMessage({ ...pool, state: 'starting' })).toBe('Starting 4 ranks…');
    expect(poolMessage(four.pool)).toBe('');
  });
});

describe('Pools', () => {
  const runStarted: DipEvent = { event: 'run_started', run: 'a-1', target: 'local', see: '0' };
  const stream: DipEvent = { event: 'stream', run: 'a-1', local: true, name: 'stdout', text: 'x' };

  function later(): {
    ask: (memory: boolean) => Promise<StatusReply>;
    answer: (reply: StatusReply | Error) => Promise<void>;
    asked: boolean[];
  } {
    const waiting: { resolve: (reply: StatusReply) => void; reject: (error: Error) => void }[] = [];
    const asked: boolean[] = [];
    return {
      asked,
      ask: (memory) => {
        asked.push(memory);
        return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
      },
      answer: async (reply) => {
        const next = waiting.shift();
        if (reply instanceof Error) {
          next?.reject(reply);
        } else {
          next?.resolve(reply);
        }
        await vi.advanceTimersByTimeAsync(0);
      },
    };
  }

  it('asks once for many events, and again for those that come meanwhile', async () => {
    vi.useFakeTimers();
    const server = later();
    const pools = new Pools(server.ask);
    const told: string[] = [];
    pools.onChange((what) => told.push(what));
    for (let i = 0; i < 100; i++) {
      pools.apply(runStarted);
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.asked).toEqual([false]);
    pools.apply(runStarted);
    pools.apply(runStarted);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.asked).toHaveLength(1);
    await server.answer({ workspaces: [four] });
    expect(pools.workspaces).toEqual([four]);
    expect(told).toEqual(['status']);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.asked).toHaveLength(2);
    vi.useRealTimers();
  });

  it('does not ask because of output', async () => {
    vi.useFakeTimers();
    const server = later();
    const pools = new Pools(server.ask);
    pools.apply(stream);
    await vi.advanceTimersByTimeAsync(1000);
    expect(server.asked).toEqual([]);
    vi.useRealTimers();
  });

  it('keeps what it knows where the server does not answer', async () => {
    vi.useFakeTimers();
    const server = later();
    const pools = new Pools(server.ask);
    pools.refresh();
    await vi.advanceTimersByTimeAsync(1000);
    await server.answer({ workspaces: [four] });
    pools.refresh();
    await vi.advanceTimersByTimeAsync(1000);
    await server.answer(new Error('ended'));
    expect(pools.workspaces).toEqual([four]);
    pools.clear();
    expect(pools.workspaces).toEqual([]);
    vi.useRealTimers();
  });

  it('asks for memory apart from the rest, and keeps it', async () => {
    vi.useFakeTimers();
    const server = later();
    const pools = new Pools(server.ask);
    const told: string[] = [];
    pools.onChange((what) => told.push(what));
    void pools.refreshMemory();
    await server.answer({
      workspaces: [workspace({ local: { ...local, host_bytes: 7 }, ranks: [rank(0, { gpu_bytes: 9 })] })],
    });
    expect(server.asked).toEqual([true]);
    expect(told).toEqual(['memory']);
    expect(pools.memory(local)).toEqual({ host: 7, gpu: null, load: null, past: [] });
    expect(pools.memory(rank(0))).toEqual({ host: null, gpu: 9, load: null, past: [] });
    expect(pools.memory({ host: 'another', pid: 4711 })).toBeUndefined();
    for (let load = 1; load <= 40; load++) {
      void pools.refreshMemory();
      await server.answer({ workspaces: [workspace({ ranks: [rank(0, { gpu_load: load })] })] });
    }
    const { load, past } = pools.memory(rank(0)) ?? { past: [] };
    expect([load, past.length, past[0]?.load, past.at(-1)?.load]).toEqual([40, 24, 16, 39]);
    expect(pools.memory(local)).toBeUndefined();
    vi.useRealTimers();
  });

  it('says nothing after its end', async () => {
    vi.useFakeTimers();
    const server = later();
    const pools = new Pools(server.ask);
    const told = vi.fn();
    pools.onChange(told);
    pools.refresh();
    await vi.advanceTimersByTimeAsync(1000);
    pools.dispose();
    await server.answer({ workspaces: [four] });
    expect(told).not.toHaveBeenCalled();
    vi.useRealTimers();
  });
});

describe('menu', () => {
  const labels = (shown: WorkspaceStatus | undefined): string[] =>
    menuItems(shown).flatMap(({ items }) => items.map(({ label }) => label));

  it('begins with what is likely', () => {
    expect(labels(undefined)[0]).toBe('Make pool');
    expect(labels(four).slice(0, 2)).toEqual(['Restart pool', 'End pool']);
    expect(labels({ ...four, runs: [running] })[0]).toBe('Interrupt all');
    expect(labels(workspace({ state: 'dead', size: 4 }))[0]).toBe('Restart pool');
    expect(labels(workspace({ state: 'starting', size: 4 }))[0]).toBe('End pool');
  });

  it('offers only what there is something to do with', () => {
    expect(labels(undefined)).not.toContain('Restart Python');
    expect(labels(undefined)).not.toContain('Show stacks');
    expect(labels(four)).toContain('Restart local namespace');
    expect(labels(workspace({ local }))).not.toContain('End pool');
  });

  it('turns autodip the other way', () => {
    expect(labels(four)).toContain('Turn autodip on');
    expect(labels(workspace({ autodip: '%%dip --see all' }))).toContain('Turn autodip off');
  });

  it('checks what is typed', () => {
    expect(['1', ' 16 ', '0', '-1', 'x', ''].map((text) => badCount(text) === undefined)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
    expect(['all', '0', '0,2-3', '3, 1', '0,', 'a'].map((text) => badGpus(text) === undefined)).toEqual([
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});

describe('losses', () => {
  const held = (...names: [string, 'local' | 'ranks', 'instance' | 'module'][]): VariablesReply => ({
    variables: names.map(([name, where, kind]) => ({
      name,
      values: [{ ...(where === 'local' ? { local: true as const } : { ranks: '0-3' }), type: 'int', kind, text: '3' }],
    })),
  });

  it('are of living processes only', () => {
    expect(ends('dip.restartPool', {}, workspace({ state: 'dead', size: 4 }))).toBeUndefined();
    expect(ends('dip.restartPool', {}, undefined)).toBeUndefined();
    expect(ends('dip.runCell', {}, four)).toBeUndefined();
    expect(ends('dip.makePool', {}, four)).toBeUndefined();
    expect(ends('dip.makePool', { restart: true }, four)).toMatchObject({ ranks: true, local: false });
    expect(ends('dip.restart', {}, workspace({ local }))).toMatchObject({ ranks: false, local: true });
    expect(ends('dip.restartAndRunTo', {}, workspace({ local }))).toMatchObject({ ranks: false, local: true });
  });

  it('are what the processes that end hold', () => {
    const pool = { ranks: true, local: false, action: 'Restart pool' };
    expect(
      question(pool, held(['x', 'ranks', 'instance'], ['y', 'ranks', 'instance'], ['z', 'local', 'instance']), 4),
    ).toEqual({
      text: 'Restart pool?',
      detail: '2 variables of 4 ranks will be lost.',
      action: 'Restart pool',
    });
  });

  it('are none where nothing is held but modules', () => {
    expect(question({ ranks: true, local: true, action: 'x' }, held(['np', 'local', 'module']), 4)).toBeUndefined();
    expect(question({ ranks: true, local: false, action: 'x' }, held(['x', 'local', 'instance']), 4)).toBeUndefined();
  });

  it('include what runs', () => {
    const all = { ranks: true, local: true, action: 'Restart Python' };
    expect(question(all, { variables: [], busy: 'ranks 0-1' }, 2)?.detail).toBe(
      'What runs is interrupted. The variables of the local namespace and 2 ranks will be lost.',
    );
    expect(question({ ...all, ranks: false }, { variables: [], busy: 'ranks 0-1' }, 2)).toBeUndefined();
  });
});

describe('failures of runs that are of no cell', () => {
  const started: RunStartedEvent = {
    event: 'run_started',
    run: 'a-1',
    cell: 0,
    title: '%dipull x',
    target: 'local',
    see: '0',
  };
  const failed: FailureEvent = {
    event: 'error',
    run: 'a-1',
    local: true,
    ename: 'NameError',
    evalue: 'no x on rank 0',
    traceback: [],
  };
  const finished: RunFinishedEvent = { event: 'run_finished', run: 'a-1', status: 'error', seconds: 0 };
  const told = (...events: DipEvent[]): string[] => {
    const runs = new Runs();
    const failures = new Failures(runs);
    return events.flatMap((event) => {
      runs.apply(event);
      return failures.apply(event) ?? [];
    });
  };

  it('are told once', () => {
    expect(told(started, failed, { ...failed, evalue: 'again' }, finished)).toEqual(['%dipull x: no x on rank 0']);
  });

  it('are told by their end where nothing else has', () => {
    expect(told(started, { ...finished, status: 'died', reason: 'local died' })).toEqual(['%dipull x: local died']);
    expect(told(started, { ...finished, status: 'interrupted' })).toEqual([]);
    expect(told(started, { ...finished, status: 'ok' })).toEqual([]);
  });

  it('are not those of cells, nor of what cells ask for', () => {
    expect(told({ ...started, path: '/a.py' }, failed, finished)).toEqual([]);
    expect(told({ ...started, cell: 3 }, failed, finished)).toEqual([]);
    expect(told({ ...started, parent: 'a-0' }, failed, finished)).toEqual([]);
  });
});

describe('places of a stack', () => {
  it('are files with lines', () => {
    const text = '  File "/home/ü/train it.py", line 33, in <module>\n  File "<frozen runpy>", line 1, in x\n';
    const [place, none] = places(text);
    expect(place).toMatchObject({ file: '/home/ü/train it.py', line: 33 });
    expect(text.slice(place?.start, place?.end)).toBe('File "/home/ü/train it.py", line 33');
    expect(none).toBeUndefined();
  });

  it('are found where stacks are folded, which name files without their folders', () => {
    const frame = { file: '/home/ü/train it.py', line: 33, name: 'step', run: '' };
    const stacks = [{ rank: 0, frames: [{ thread: 'MainThread', main: true, frames: [frame] }] }, { rank: 1 }];
    const text = 'ranks 0-1,3\n  train it.py:33 in step  loss: int = 1:2\n  other.py:1 in f\n';
    const [place, none] = foldedPlaces(text, stacks);
    expect(place).toMatchObject({ file: '/home/ü/train it.py', line: 33 });
    expect(text.slice(place?.start, place?.end)).toBe('train it.py:33');
    expect(none).toBeUndefined();
  });
});

it('tells of the end of a run that took long, of a cell as of anything else', () => {
  const runs = new Runs();
  const end = (
    run: string,
    seconds: number,
    status: 'ok' | 'error' | 'interrupted' | 'died' | 'skipped',
    after = 60,
  ) => {
    const event = { event: 'run_finished', run, status, seconds } as const;
    return ended(status === 'died' ? { ...event, reason: 'rank 2 died' } : event, runs.get(run), after);
  };
  runs.apply({ event: 'run_started', run: 'a', target: 'remote', see: 'all', cell: 3, title: 'Train' });
  runs.apply({ event: 'run_started', run: 'b', target: 'remote', see: 'all', cell: 4, title: '' });
  runs.apply({ event: 'run_started', run: 'c', target: 'local', see: 'all', title: '%makedip' });
  runs.apply({ event: 'run_started', run: 'd', target: 'local', see: 'all', parent: 'a' });
  expect(end('a', 65, 'ok')).toEqual({ text: 'Cell 3 “Train” has ended after 1 min 05 s', good: true, run: 'a' });
  expect(end('a', 59, 'ok')).toBeUndefined();
  expect(end('a', 3600, 'ok', 0)).toBeUndefined();
  expect(end('b', 61, 'error')).toMatchObject({ text: 'Cell 4 has failed after 1 min 01 s', good: false });
  expect(end('b', 61, 'died')).toMatchObject({ text: 'Cell 4 has died after 1 min 01 s: rank 2 died' });
  expect(end('c', 61, 'interrupted')).toMatchObject({ text: '%makedip was interrupted after 1 min 01 s' });
  for (const run of ['d', 'unknown']) {
    expect(end(run, 3600, 'ok')).toBeUndefined();
  }
  expect(end('a', 3600, 'skipped')).toBeUndefined();
});
