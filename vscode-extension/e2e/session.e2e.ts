/** A person's session with the extension, from the first lens to the closed window. The tests follow one another. */
import { mkdir } from 'node:fs/promises';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { until } from './until';
import { VSCode } from './vscode';
import type { Window } from './window';

const ranks = [0, 1, 2];
const screenshots = process.env.E2E_SCREENSHOTS;

const code = await VSCode.start({
  folder: path.join(import.meta.dirname, 'folder'),
  name: 'Ein Prüfstück 試験',
  settings: { 'dip.ranks': ranks.length },
});
let window: Window;

beforeAll(async () => {
  window = await code.open();
});

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') {
    console.error(`What the windows showed and the logs said: ${await code.evidence()}`);
  }
});

afterAll(async () => {
  await code.stop();
  await until('every process of VS Code and of the extension ends', async () => (await code.processes()).length === 0);
  await code.remove();
});

/** Saves a picture of the window for the documentation, where these are asked for. */
async function screenshot(name: string): Promise<void> {
  if (screenshots) {
    await mkdir(screenshots, { recursive: true });
    await window.screenshot(path.join(screenshots, `${name}.png`));
  }
}

it('shows lenses above cells', async () => {
  await window.openFile('ranks.py');
  expect(await window.lenses('Who is there')).toEqual(['Run on all ranks', 'Everywhere', 'Locally']);
  expect(await window.lenses('Both')).toEqual(['Run on all ranks', 'Everywhere', 'Locally', 'Run above']);
});

it('runs a cell on every rank and shows what each has printed', async () => {
  await window.openFile('ranks.py');
  await window.clickLens('Who is there', 'Run on all ranks');
  await until(
    'the cell has run',
    async () => (await window.lenses('Who is there')).some((lens) => lens.startsWith('✓ 3/3 ranks')),
    90_000,
  );
  const pids = [];
  for (const rank of ranks) {
    pids.push(
      await until(
        `rank ${rank}'s pid`,
        async () => /^pid (\d+)$/m.exec(await window.channel(`Dip: rank ${rank}`))?.[1],
      ),
    );
  }
  const living = (await code.extensionProcesses()).map(({ pid }) => pid);
  expect(living).toEqual(expect.arrayContaining(pids.map(Number)));
  expect(new Set(pids).size).toBe(ranks.length);
  await screenshot('channels');
});
