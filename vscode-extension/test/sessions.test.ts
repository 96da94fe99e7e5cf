import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ListedSession, WorkspaceStatus } from '../src/generated/server';
import { menuItems } from '../src/pool/menuItems';
import { statusText, statusTooltip } from '../src/pool/rows';
import { Runs } from '../src/runs';
import { followSessions } from '../src/sessions/follow';
import { journals } from '../src/sessions/journals';
import { Sessions, type Tie } from '../src/sessions/sessions';
import { listedText, span, stopQuestion, tieText } from '../src/sessions/words';

const folder = '/home/u/project';
const now = Date.parse('2026-01-02T18:30:00Z');

const train = {
  folder: 'file:///home/u/project',
  state: 'reattached',
  name: 'train',
  keep: 4 * 3600,
  since: '2026-01-02T09:04:05.123456Z',
  clients: ['VS Code'],
  ranks: 2,
  devices: ['cuda:0', 'cuda:1'],
  memory: 12_300_000_000,
  text: 'session train, started 9 h ago',
  journal: '/home/u/.local/state/dipls/runs',
  log: '/home/u/.local/state/dipls/sessions/train.log',
} as const satisfies Tie;
const other = { ...train, name: 'other', since: '2026-01-02T17:00:00Z' };
const own = { ...train, state: 'own', name: '', keep: 0, journal: '', log: '' } as const;
const gone = { ...train, state: 'gone', text: 'session train has ended: it was killed' } as const;

const pool: WorkspaceStatus = {
  folder,
  session: null,
  runs: [],
  pool: {
    state: 'ready',
    reason: '',
    size: 2,
    backend: 'nccl',
    app: 'torch',
    method: 'fork',
    verbose: false,
    autodip: '',
    ranks: [0, 1].map((rank) => ({
      rank,
      pid: 4711 + rank,
      device: `cuda:${rank}`,
      state: 'ready',
      host: '',
      host_bytes: null,
      gpu_bytes: null,
      run: null,
    })),
    local: null,
  },
};

/** Sessions, and what they tell of changes. */
function setup() {
  const sessions = new Sessions();
  const told: string[] = [];
  sessions.listen({
    replaced: (of) => told.push(`replaced in ${of}`),
    past: (again) => told.push(again ? 'past, again' : 'past'),
    present: () => told.push('present'),
    left: (outlived) => told.push(outlived ? 'left, outlived' : 'left'),
  });
  return { sessions, told };
}

describe('the sessions of a window', () => {
  it('tell their past, and then what happens', () => {
    const { sessions, told } = setup();
    sessions.apply(folder, { ...train, past: true });
    sessions.apply(folder, { ...train, past: true, clients: ['VS Code', 'Neovim'] });
    sessions.apply(folder, train);
    expect(told).toEqual(['past', 'present']);
    expect(sessions.of(folder)).toEqual(train);
    expect(sessions.of(undefined)).toEqual(train); // the only one
    expect(sessions.of('/elsewhere')).toBeUndefined();
  });

  it('are in the present once all of them are', () => {
    const { sessions, told } = setup();
    sessions.apply(folder, { ...train, past: true });
    sessions.apply('/elsewhere', { ...other, past: true });
    sessions.apply(folder, train);
    expect(told).toEqual(['past', 'past']);
    sessions.apply('/elsewhere', other);
    expect(told.at(-1)).toBe('present');
  });

  it('are left by a server that ends, and tell their past again to the next one', () => {
    const { sessions, told } = setup();
    sessions.apply(folder, { ...train, past: true });
    sessions.apply('/elsewhere', own);
    sessions.leave();
    expect(told).toEqual(['past', 'present', 'left, outlived']);
    expect(sessions.of(folder)?.state).toBe('detached');
    expect(sessions.of('/elsewhere')).toBeUndefined();
    sessions.apply(folder, { ...train, past: true });
    sessions.apply('/elsewhere', { ...other, past: true });
    expect(told.slice(3)).toEqual(['past, again', 'past']); // what channels have is emptied once
  });

  it('end with the server if they are its own', () => {
    const { sessions, told } = setup();
    sessions.apply(folder, own);
    expect(sessions.outlive).toBe(false);
    sessions.leave();
    expect(told).toEqual(['present', 'left']);
  });

  it('are replaced by others, but not by themselves under another name', () => {
    const { sessions, told } = setup();
    sessions.apply(folder, train);
    sessions.apply(folder, { ...train, name: 'renamed' });
    sessions.apply(folder, gone);
    sessions.apply(folder, { ...train, past: true });
    sessions.apply(folder, train);
    expect(told).toEqual(['present', 'present', 'present', 'past, again', 'present']);
    sessions.apply(folder, { ...other, past: true });
    expect(told.slice(5)).toEqual([`replaced in ${folder}`, 'past, again']);
  });
});

describe('runs', () => {
  const begin = (runs: Runs, run: string, file: string) => {
    runs.apply({ event: 'run_started', run, path: file, target: 'local', see: 'all' });
  };
  const states = (runs: Runs) => runs.list.map(({ id, status }) => `${id} ${status ?? 'runs'}`);
  const follow = () => {
    const sessions = new Sessions();
    const runs = new Runs();
    followSessions(runs, sessions);
    return { sessions, runs };
  };

  it('go on when the server of their session ends, and are there when the next one comes', () => {
    const { sessions, runs } = follow();
    sessions.apply(folder, train);
    begin(runs, 'a-1', `${folder}/a.py`);
    sessions.leave();
    expect(states(runs)).toEqual(['a-1 runs']);
    sessions.apply(folder, { ...train, past: true });
    begin(runs, 'a-1', `${folder}/a.py`);
    sessions.apply(folder, train);
    expect(states(runs)).toEqual(['a-1 runs']);
  });

  it('end when another session is there instead, and with a server whose sessions do', () => {
    const { sessions, runs } = follow();
    sessions.apply(folder, train);
    begin(runs, 'a-1', `${folder}/a.py`);
    sessions.leave();
    sessions.apply(folder, own);
    expect(states(runs)).toEqual(['a-1 died']);
    begin(runs, 'b-1', `${folder}/a.py`);
    sessions.leave();
    expect(states(runs)).toEqual(['a-1 died', 'b-1 died']);
  });

  it('are those of the session that is shown', () => {
    const { sessions, runs } = follow();
    sessions.apply(folder, train);
    begin(runs, 'a-1', `${folder}/a.py`);
    begin(runs, 'x-1', `${folder}, another one/a.py`);
    sessions.apply(folder, { ...other, past: true });
    begin(runs, 'b-1', `${folder}/a.py`);
    sessions.apply(folder, other);
    expect(states(runs)).toEqual(['x-1 runs', 'b-1 runs']);
  });
});

describe('the status bar', () => {
  it.each<[string, WorkspaceStatus | undefined, Tie | undefined, string, string]>([
    ['a session of its own', pool, own, 'Dip: 2 ranks · autodip off', 'idle'],
    ['a session with the name of the folder', undefined, { ...train, name: 'project' }, 'Dip: reattached', 'idle'],
    ['one that was started', undefined, { ...train, state: 'attached' }, 'Dip: attached to train', 'idle'],
    ['one with a pool', pool, train, 'Dip: 2 ranks · autodip off · reattached to train', 'idle'],
    ['no server', undefined, { ...train, state: 'detached' }, 'Dip: detached', 'detached'],
    ['one that is gone', pool, gone, 'Dip: session gone', 'gone'],
  ])('tells of %s', (_, workspace, tie, text, mood) => {
    expect(statusText(workspace, [], tie)).toEqual({ text, mood });
  });

  it('explains', () => {
    const text = statusTooltip(pool, false, { ...train, clients: ['VS Code', 'Neovim', 'VS Code'] }, now);
    expect(text.split('\n\n')).toEqual([
      '**Pool of 2 ranks** on cuda:0-1 over nccl, app torch',
      'Autodip off: cells that do not say where run locally',
      '**Session train**, started 9 h ago, before this window',
      '2 GPUs held for 9 h by session train (12.3 GB)',
      'Attached: VS Code \\(2\\), Neovim',
      'Kept for 4 h with nobody attached and nothing running',
      'Click for what can be done.',
    ]);
  });

  it('says of a session that is gone why, and nothing of its pool', () => {
    const text = statusTooltip(pool, false, gone, now);
    expect(text).toContain('session train has ended: it was killed');
    expect(text).not.toContain('Pool');
  });

  it.each([
    [30_000, 'less than a minute'],
    [59 * 60_000, '59 min'],
    [47 * 3_600_000, '47 h'],
    [48 * 3_600_000, '2 d'],
    [51 * 3_600_000, '2 d 3 h'],
  ])('says how long %d ms are', (ms, text) => {
    expect(span(ms)).toBe(text);
  });

  it('takes a folder as it is called, not as it is written in a URI', () => {
    expect(tieText({ ...train, folder: 'file:///home/u/%C3%89tude%20%C3%A0%20trois', name: 'Étude à trois' })).toBe(
      'reattached',
    );
  });
});

describe('the menu', () => {
  const actions = (tie: Tie | undefined) =>
    menuItems(undefined, tie).flatMap(({ title, items }) =>
      title.startsWith('Session') ? items.map(({ action }) => action) : [],
    );

  it('has what can be done with a session', () => {
    expect(actions(train)).toEqual(['attachSession', 'renameSession', 'showSessionLog', 'showJournals', 'stopSession']);
    expect(actions(gone)).toEqual(['attachSession', 'showSessionLog', 'showJournals']);
    expect(actions({ ...train, state: 'detached' })).toEqual(['restartServer', 'showSessionLog', 'showJournals']);
    expect(actions(own)).toEqual(['attachSession']);
    expect(actions(undefined)).toEqual(['attachSession']);
  });

  it('frees GPU memory where there are GPUs', () => {
    const offers = (workspace: WorkspaceStatus) =>
      menuItems(workspace, train).some(({ items }) => items.some(({ action }) => action === 'freeMemory'));
    expect(offers(pool)).toBe(true);
    const cpu = pool.pool.ranks.map((rank) => ({ ...rank, device: 'cpu' }));
    expect(offers({ ...pool, pool: { ...pool.pool, ranks: cpu } })).toBe(false);
  });
});

const listed: ListedSession = {
  name: 'train',
  dir: folder,
  current: true,
  pid: 4711,
  since: '2026-01-02T09:04:05Z',
  used: true,
  keep: 0,
  state: 'ready',
  ranks: 2,
  text: '',
  clients: [{ program: 'VS Code', pid: 1, since: '' }],
};

describe('the question before a session ends', () => {
  it('says what is lost, and who is attached besides', () => {
    expect(stopQuestion(listed)).toEqual({
      text: 'End session train?',
      detail: 'All variables of the local namespace and 2 ranks will be lost.',
    });
    const busy = { ...listed, ranks: 0, runs: [{ id: 'a-1', title: 'Train' }, { id: 'a-2' }] };
    expect(stopQuestion({ ...busy, current: false })?.detail).toBe(
      'What runs is interrupted: “Train”. All variables of the local namespace will be lost. Attached: VS Code.',
    );
  });

  it('is not asked where nothing is lost', () => {
    expect(stopQuestion({ ...listed, used: false })).toBeUndefined();
    expect(stopQuestion({ ...listed, used: false, problem: 'it does not answer' })).toBeDefined();
  });
});

it('a list says each thing of a session once', () => {
  const text = `train in ${folder}: 2 ranks, idle`;
  expect(listedText({ ...listed, text })).toBe('2 ranks, idle');
  expect(listedText({ ...listed, text, problem: 'it does not answer' })).toBe('it does not answer');
});

it('journals are those of the folder, since the session was started, the newest first', async () => {
  const runs = mkdtempSync(path.join(tmpdir(), 'dip-journals-'));
  try {
    const write = (name: string, record: object | string) => {
      mkdirSync(path.join(runs, name));
      writeFileSync(path.join(runs, name, 'run.json'), typeof record === 'string' ? record : JSON.stringify(record));
    };
    write('1', { run: 'a-1', path: `${folder}/a.py`, started: '2026-01-02T09:00:00Z', status: 'ok' });
    write('2', { run: 'b-1', path: `${folder}/a.py`, title: 'Train', started: '2026-01-02T10:00:00Z', status: 'ok' });
    write('3', { run: 'x-1', path: '/elsewhere/a.py', started: '2026-01-02T10:01:00Z' });
    write('4', { run: 'b-2', path: `${folder}/a.py`, cell: 3, started: '2026-01-02T10:02:00Z' });
    write('5', '{"run": "b-3", ');
    mkdirSync(path.join(runs, '.next-1'));
    expect(await journals(runs, folder, Date.parse(train.since))).toEqual([
      { run: 'b-2', title: 'cell 3', started: Date.parse('2026-01-02T10:02:00Z') },
      { run: 'b-1', title: 'Train', started: Date.parse('2026-01-02T10:00:00Z'), status: 'ok' },
    ]);
  } finally {
    rmSync(runs, { recursive: true });
  }
});
