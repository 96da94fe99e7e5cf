/** Sessions that outlive the window. Files say how far a training may go, so that it is known what has happened while nobody was there. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import * as path from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { startVSCode } from './fixture';
import { until } from './until';
import type { Window } from './window';

const steps = [1, 2, 3];
const neovim = process.env.E2E_NEOVIM;

const code = await startVSCode({
  folder: path.join(import.meta.dirname, 'folder'),
  name: 'Étude à deux',
  settings: { 'dip.ranks': 2, 'dip.session.keep': '3m' }, // not longer: nothing else ends the session of tests that are killed
});
const train = path.join(code.folder, 'train.py');
let window: Window;

beforeAll(async () => {
  window = await code.open();
  await window.openFile('train.py');
});

/** Begins the training, and waits until it has said its first step. */
async function beginTraining(): Promise<void> {
  await Promise.all(steps.map((step) => rm(file(step), { force: true })));
  await window.clickLens('Train', 'Run cell · all ranks');
  await shows(1);
}

/** Lets the training go on after a step. */
async function goOn(step: number): Promise<void> {
  await writeFile(file(step), '');
}

function file(step: number): string {
  return path.join(code.folder, `after-${step}`);
}

/** Waits until the output of the last training has the steps so far, each once. */
async function shows(last: number): Promise<void> {
  const said = steps
    .filter((step) => step <= last)
    .flatMap((step) => [0, 1].map((rank) => `[${rank}] step ${step} of rank ${rank}`));
  await until(`the output has the steps up to ${last}`, async () => {
    const lines = (await window.channel('Dip')).split('\n');
    const training = lines.slice(lines.findLastIndex((line) => /^--- Cell \d: Train/.test(line)));
    expect(training.filter((line) => / step \d of rank/.test(line)).toSorted()).toEqual(said.toSorted());
    return true;
  });
}

/** The same of all steps, with the failure below them. */
async function showsAll(): Promise<void> {
  await window.run('View: Toggle Maximized Panel'); // else the failure takes all of it
  await shows(3);
  await window.run('View: Toggle Maximized Panel');
}

it('goes on while the window is reloaded', async () => {
  await window.clickLens('Here', 'Run cell · locally');
  await window.outcome('Here', /^✓/);
  await beginTraining();
  await window.reload();
  await window.openFile('train.py');
  await window.outcome('Train', /^… 0\/2 done\b/);
  await window.outcome('Here', /^✓/);
  await shows(1);
  await goOn(1);
  await shows(2);
  await says(/^Dip: 2 ranks · autodip off · reattached · \d+ s$/);
});

it('is there with its end when the window is opened again, also where the file is another one by now', async () => {
  await window.close();
  await goOn(2);
  await goOn(3);
  await until('the training has failed', async () => (await code.journals()).some(({ status }) => status === 'error'));
  const text = await readFile(train, 'utf8');
  await writeFile(train, `# A line that moves the others.\n${text.replace('is from VS', 'is also from VS')}`);
  window = await code.open();
  await window.openFile('train.py');
  await window.outcome('Train', /^✗ ranks 0-1: RuntimeError$/);
  await window.outcome('Here', /^✓.*stale$/);
  const failed = text.split('\n').findIndex((line) => line.startsWith('raise')) + 2;
  expect(await window.problems()).toContainEqual(
    expect.stringMatching(new RegExp(`RuntimeError: diverged — ranks 0-1.*\\[Ln ${failed}, `)),
  );
  await showsAll();
  expect(await window.notifications()).toEqual([]); // what has failed by now is no news
});

/** The pid of the language server. */
async function server(): Promise<number | undefined> {
  return (await code.extensionProcesses()).find(({ commandLine }) => / lsp /.test(commandLine))?.pid;
}

it('survives the language server that is killed', async () => {
  await beginTraining();
  const before = await server();
  process.kill(before ?? NaN, 'SIGKILL');
  await until('another one runs', async () => {
    const now = await server();
    return now !== undefined && now !== before;
  });
  await window.outcome('Train', /^… 0\/2 done\b/);
  await goOn(1);
  await shows(2);
  const told = await window.notifications();
  expect(told).toEqual([expect.stringMatching(/SIGKILL.*attaches to the session again: nothing is lost/)]);
});

it('survives the editor that is killed', async () => {
  await code.kill();
  await window.page.close();
  await goOn(2);
  await code.startAgain();
  window = await code.open();
  await window.openFile('train.py');
  await window.outcome('Train', /^… 0\/2 done\b/);
  await shows(3);
  await goOn(3);
  await window.outcome('Train', /^✗ ranks 0-1: RuntimeError$/);
  await showsAll();
});

it.skipIf(!neovim)('is shared with Neovim: each sees what the other runs', async () => {
  await window.clickLens('Here', 'Run cell · locally');
  await window.outcome('Here', /^✓/);
  const scripts = path.join(import.meta.dirname, '..', '..');
  const other = code.execute(
    neovim ?? '',
    ...['--headless', '-n', '-i', 'NONE', '-u', path.join(scripts, 'nvim', 'init.lua'), 'train.py'],
    ...['-c', `luafile ${path.join(scripts, 'lsp', 'testdata', 'nvim', 'person.lua')}`],
    ...['-c', `luafile ${path.join(import.meta.dirname, 'neovim.lua')}`],
  );
  await Promise.race([other, window.outcome('There', /^✓/)]);
  await (await window.results()).getByText('by Neovim').first().waitFor();
  await window.clickLens('Train', 'Run cell · all ranks');
  await other;
});

it('is renamed', async () => {
  await window.run('Dip: Rename session');
  await window.answer('Rename session', 'Étude du soir');
  await says(/ reattached to Étude du soir$/);
});

/** Waits until the status bar says something of the session. */
async function says(pattern: RegExp): Promise<void> {
  await until(`the status bar says ${String(pattern)}`, async () => {
    const items = await window.statusBar();
    expect(items).toContainEqual(expect.stringMatching(pattern));
    return true;
  });
}

/** The pid of a session's process. */
async function processOf(name: string): Promise<number> {
  const sessions = JSON.parse(await code.execute('dipls', 'sessions', '--json')) as { name: string; pid: number }[];
  return sessions.find((session) => session.name === name)?.pid ?? NaN;
}

it('is left for another one, whose process is killed, and is come back to', async () => {
  const flags = ['--session', 'autre', '--keep', '3m', '--python', process.env.E2E_PYTHON ?? '', '--cells', '4'];
  await code.execute('dipls', 'run', ...flags, 'train.py');
  await window.run('Dip: Attach to another session');
  await window.choose('autre');
  await says(/ reattached to autre$/);
  const went = async (cell: string): Promise<boolean> => (await window.lenses(cell)).some((lens) => /^[✓✗]/.test(lens));
  const limit = 90_000; // lenses may be behind
  await until(
    'only what has run there shows how it went',
    async () => (await went('There')) && !(await went('Here')),
    limit,
  );
  process.kill(await processOf('autre'), 'SIGKILL');
  await says(/^Dip: session gone$/);
  expect(await window.notifications()).toContainEqual(expect.stringMatching(/process has ended without a word/));
  await window.clickLens('Here', 'Run cell · locally');
  await says(/ reattached to Étude du soir$/);
  await window.outcome('Here', /^✓/);
});

it('ends when it is stopped, and leaves nothing', async () => {
  await window.run('Dip: End session');
  await window.confirm('End session');
  await until('nothing but the language server runs', async () =>
    (await code.extensionProcesses()).every(({ commandLine }) => / lsp /.test(commandLine)),
  );
  await until('the status bar says so', async () => (await window.statusBar()).includes('Dip: session gone'));
});
