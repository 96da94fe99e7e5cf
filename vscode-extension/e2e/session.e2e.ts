/**
 * A person's work with the extension, from the first lens to the closed window, in a session that ends with the window. The tests follow one another.
 */
import { mkdir, readFile } from 'node:fs/promises';
import * as path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { startVSCode } from './fixture';
import { until } from './until';
import type { Window } from './window';

const ranks = [0, 1, 2];
const screenshots = process.env.E2E_SCREENSHOTS;

const code = await startVSCode({
  folder: path.join(import.meta.dirname, 'folder'),
  name: 'Étude à trois',
  settings: { 'dip.ranks': ranks.length, 'dip.hang.after': 2, 'dip.session.keep': '0' },
});
let window: Window;

beforeAll(async () => {
  window = await code.open();
});

/** Saves a picture of the window for the documentation, if asked to (`make screenshots`). */
async function screenshot(name: string): Promise<void> {
  if (screenshots) {
    await mkdir(screenshots, { recursive: true });
    await window.screenshot(path.join(screenshots, `${name}.png`));
  }
}

/** Waits until a channel shows a match, and returns its first group. */
async function inChannel(name: string, pattern: RegExp): Promise<string> {
  return until(`${String(pattern)} in "${name}"`, async () => {
    const match = pattern.exec(await window.channel(name));
    return match && (match[1] ?? match[0]);
  });
}

/** The pids that the ranks have printed last, in their order. */
async function printedPids(): Promise<number[]> {
  const pids = [];
  for (const rank of ranks) {
    pids.push(Number(await inChannel(`Dip: rank ${rank}`, /^pid (\d+)$(?![^]*^pid)/m)));
  }
  return pids;
}

/** The pids that the Ranks view shows, in the ranks' order. */
async function rankPids(): Promise<number[]> {
  const rows = await window.tree('Dip', 'Ranks');
  return rows.filter((row) => row.startsWith('rank')).map((row) => Number(/pid (\d+)/.exec(row)?.[1]));
}

async function nothingRuns(): Promise<void> {
  await until('the processes of the extension end', async () => (await code.extensionProcesses()).length === 0);
}

it('shows lenses above cells', async () => {
  await window.openFile('ranks.py');
  expect(await window.lenses('Who is there')).toEqual([
    'Run cell · locally',
    'Run on all ranks',
    'Everywhere',
    'Run below',
  ]);
  expect(await window.lenses('Both')).toEqual([
    'Run cell · locally',
    'Run on all ranks',
    'Everywhere',
    'Run above',
    'Run below',
  ]);
});

it('runs a cell on every rank and shows what each has printed', async () => {
  await window.openFile('ranks.py');
  await window.clickLens('Who is there', 'Run on all ranks');
  await window.outcome('Who is there', /^✓ 3\/3 ranks/);
  const pids = await printedPids();
  expect(new Set(pids).size).toBe(ranks.length);
  expect((await code.extensionProcesses()).map(({ pid }) => pid)).toEqual(expect.arrayContaining(pids));
  expect(await window.statusBar()).toContain('Dip: 3 ranks · autodip off');
});

it('runs a cell everywhere', async () => {
  await window.openFile('ranks.py');
  await window.clickLens('Both', 'Everywhere');
  await window.outcome('Both', /^✓ local and 3\/3 ranks/);
  await inChannel('Dip: local', /^here is local$/m);
  for (const rank of ranks) {
    await inChannel(`Dip: rank ${rank}`, new RegExp(`^here is ${rank}$`, 'm'));
  }
  const results = await window.results();
  await results.getByText('here is local').waitFor();
  await results.getByText('here is 0').waitFor();
  await screenshot('run');
});

it('runs a notebook in the same session, as its cells say', async () => {
  await window.openNotebook('notebook.ipynb');
  await window.run('Notebook: Run All');
  await window.inNotebook(/\[0-2\] the same\n\[0\] rank 0\n\[1\] rank 1\n\[2\] rank 2/);
  await window.run('Notebook: Go to Most Recently Failed Cell');
  await window.inNotebook(/Cell In\[\d+\], line 3/);
  await screenshot('notebook');
  await window.run('View: Close Editor');
});

it('opens a file as a notebook and back, and leaves it as it was', async () => {
  const file = path.join(code.folder, 'ranks.py');
  const before = await readFile(file);
  await window.openFile('ranks.py');
  await window.run('Dip: Open as notebook');
  await window.run('Notebook: Run All');
  await window.inNotebook(/here is local/);
  await screenshot('percent');
  await window.run('File: Save');
  await window.run('Dip: Open as text');
  expect(await window.lenses('Both')).toContain('Everywhere');
  expect(await readFile(file)).toEqual(before);
});

it('shows a failure with its ranks, and pushes the variable that they lack', async () => {
  await window.openFile('names.py');
  await window.clickLens('Only here', 'Run cell · locally');
  await window.outcome('Only here', /^✓/);
  await window.clickLens('On the ranks', 'Run on all ranks');
  await window.outcome('On the ranks', /^✗ ranks 0-2: NameError$/);
  expect(await window.problems()).toContainEqual(
    expect.stringContaining("NameError: name 'threshold' is not defined — ranks 0-2"),
  );
  await screenshot('diagnostic');
  await window.putCursor('print("threshold is"');
  await window.quickFix("Push 'threshold' to all ranks");
  await until('every rank has the variable', async () => {
    const row = (await window.tree('Dip', 'Variables')).find((text) => text.startsWith('threshold'));
    return row?.includes('everywhere');
  });
  await screenshot('pool');
  await window.clickLens('On the ranks', 'Run on all ranks');
  await window.outcome('On the ranks', /^✓ 3\/3 ranks/);
  await inChannel('Dip: rank 2', /^threshold is 0\.5$/m);
  expect((await window.problems()).join('\n')).not.toContain('NameError');
});

it('shows the plot of each rank in the results panel', async () => {
  await window.openFile('plot.py');
  await window.clickLens('Loss of each rank', 'Run cell · all ranks');
  await window.outcome('Loss of each rank', /^✓ 3\/3 ranks/);
  const results = await window.results();
  for (const rank of ranks) {
    const plot = results.getByAltText(new RegExp(`of rank ${rank}$`));
    await until(`the plot of rank ${rank} is drawn`, () =>
      plot.evaluate((image) => image instanceof HTMLImageElement && image.complete && image.naturalWidth > 0),
    );
  }
  await results.getByRole('button', { name: 'Side by side' }).click();
  await screenshot('results');
});

it('draws rich output in frames that reach neither the page nor the network', async () => {
  await window.openFile('rich.py');
  await window.clickLens('Rich output', 'Run cell · locally');
  await window.outcome('Rich output', /^✓/);
  const results = await window.results();
  await results.getByRole('combobox', { name: 'Whose output' }).selectOption({ label: 'Local' });
  await results.getByRole('textbox', { name: 'Filter results' }).fill('HTML object');
  const drawn = results.locator('iframe').last().contentFrame(); // other runs have some, too
  await drawn.getByText('drawn by a script, without a network', { exact: true }).waitFor();
  await results.getByText('It wants to load from cdn.example.org').waitFor();
  for (const [text, selector] of [
    ['Markdown object', '.katex-html'],
    ['Latex object', '.katex-display'],
    ['alt.Chart', 'svg .mark-rect path'],
    ['Figure(', 'svg .scatterlayer path'],
  ] as const) {
    await results.getByRole('textbox', { name: 'Filter results' }).fill(text);
    await drawn.locator(selector).first().waitFor();
  }
  await results.getByRole('button', { name: /large$/ }).click();
  const large = await window.editorPage();
  await large.frameLocator('iframe').locator('svg .scatterlayer path').first().waitFor();
  await large.getByRole('button', { name: 'Zoom in (+)' }).click();
  await large.getByText('125 %').waitFor();
  await large.getByRole('button', { name: 'Save as PNG' }).click();
  const saved = path.join(code.folder, 'Rich-output-local.png');
  await window.accept('Save output', saved);
  await until('the picture is there', async () => (await readFile(saved)).length > 1000);
  await window.run('View: Close Editor');
  await results.getByRole('textbox', { name: 'Filter results' }).fill('');
  await results.getByRole('combobox', { name: 'Whose output' }).selectOption({ label: 'Seen ranks' });
});

it('goes from a cell to its output, and back', async () => {
  await window.openFile('names.py');
  await window.clickLens('Only here', 'Run cell · locally');
  await window.outcome('Only here', /^✓/);
  await window.openFile('rich.py');
  await window.putCursor('# %% Rich output');
  await window.page.keyboard.press('Control+;');
  await window.page.keyboard.press('o');
  const results = window.resultsInView();
  const head = results.getByRole('button', { name: /^Go to Rich output/ });
  await until('the head of the run has the focus', () => head.last().evaluate((it) => it === document.activeElement));
  await window.openFile('names.py');
  await window.run('Dip: Go to cell');
  await window.page.locator('.tab.active[data-resource-name="rich.py"]').waitFor();
});

it('shows an array of the ranks as a table, sorted and filtered, and where it differs', async () => {
  await window.openFile('table.py');
  await window.clickLens('Batch', 'Run cell · all ranks');
  await window.outcome('Batch', /^✓ 3\/3 ranks/);
  await window.results(); // the page of an editor is the one that comes after it
  await window.openFile('table.py');
  await window.putCursor('batch[2, 1]');
  await window.run('Dip: Open as table');
  await window.answer('Open as table', 'batch');
  const table = await window.editorPage();
  await table.getByText('ndarray 4 × 3 · rows 1–4 of 4 · 1 cell differs').waitFor();
  await table.getByRole('cell', { name: /differs. rank 0: 0.0/ }).waitFor();
  await table.getByRole('button', { name: '0', exact: true }).click();
  await table.getByRole('columnheader', { name: /^0/ }).and(table.locator('[aria-sort=ascending]')).waitFor();
  await table.getByRole('textbox', { name: /^Filter 2/ }).fill('> 4');
  await table.getByText('rows 1–3 of 3').waitFor();
  await screenshot('table');
  await window.run('View: Close Editor');
});

it('interrupts an endless cell', async () => {
  await window.openFile('endless.py');
  await window.clickLens('Endless', 'Run on all ranks');
  await inChannel('Dip: rank 0', /^begun$/m);
  await window.clickLens('Endless', 'Interrupt');
  await window.outcome('Endless', /^✗ interrupted/);
});

it('says whom ranks wait for, and frees them', async () => {
  await window.openFile('hang.py');
  await window.clickLens('Uneven', 'Run on all ranks');
  await window.outcome('Uneven', /^… ranks 0,2 wait for rank 1\b/);
  expect(await window.problems()).toContainEqual(
    expect.stringContaining('ranks 0,2 wait here in all_reduce for rank 1'),
  );
  await until('the row of rank 1 says that it is missing', async () =>
    (await window.tree('Dip', 'Ranks')).some((row) => /^rank 1.*missing: has finished this cell/.test(row)),
  );
  await screenshot('hang');
  await window.clickLens('Uneven', 'Free ranks');
  await window.outcome('Uneven', /^✗ interrupted/);
  await window.clickLens('All together', 'Run on all ranks');
  await inChannel('Dip: rank 2', /^all 3$/m);
});

it('restarts the pool', async () => {
  const before = await rankPids();
  await window.run('Dip: Restart pool');
  await window.confirm('Restart pool');
  const after = await until('other processes are ranks', async () => {
    const pids = await rankPids();
    return pids.length === ranks.length && pids.every((pid) => !before.includes(pid)) && pids;
  });
  await window.openFile('ranks.py');
  await window.clickLens('Who is there', 'Run on all ranks');
  await until('they print their pids', async () => isDeepStrictEqual(await printedPids(), after));
});

it('says which rank was killed from outside', async () => {
  await window.openFile('endless.py');
  await window.clickLens('Endless', 'Run on all ranks');
  await window.outcome('Endless', /^… 0\/3 done\b/);
  const [, victim] = await rankPids();
  process.kill(victim ?? NaN, 'SIGKILL');
  await window.outcome('Endless', /^✗ rank 1/);
  expect(await window.problems()).toContainEqual(expect.stringContaining('rank 1 was killed by SIGKILL'));
  expect(await window.tree('Dip', 'Ranks')).toContainEqual(expect.stringMatching(/^rank 1.*was killed by SIGKILL/));
  expect(await window.statusBar()).toContain('Dip: pool dead');
});

it('leaves nothing running when the window closes, and opens again', async () => {
  await window.close();
  await nothingRuns();
  window = await code.open();
  await window.openFile('ranks.py');
  expect(await window.lenses('Who is there')).toEqual([
    'Run cell · locally',
    'Run on all ranks',
    'Everywhere',
    'Run below',
  ]);
  await window.clickLens('Both', 'Everywhere');
  await window.outcome('Both', /^✓ local and 3\/3 ranks/);
  await window.close();
  await nothingRuns();
});
