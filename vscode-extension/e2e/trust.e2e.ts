/** A folder that the user does not trust at first. It names an interpreter that leaves a trace when it is started. */
import { access, mkdir, writeFile } from 'node:fs/promises';
import * as path from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { startVSCode } from './fixture';
import { until } from './until';
import type { Window } from './window';

const code = await startVSCode({
  folder: path.join(import.meta.dirname, 'folder'),
  name: 'From somewhere',
  settings: { 'dip.ranks': 1 },
  trust: true,
});
const started = path.join(code.folder, 'started');
let window: Window;

beforeAll(async () => {
  const python = path.join(code.folder, 'python');
  await writeFile(python, `#!/bin/sh\n: >'${started}'\nexec '${process.env.E2E_PYTHON ?? ''}' "$@"\n`, { mode: 0o700 });
  await mkdir(path.join(code.folder, '.vscode'));
  await writeFile(path.join(code.folder, '.vscode', 'settings.json'), JSON.stringify({ 'dip.python': python }));
  window = await code.open();
});

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}

it('runs nothing while the folder is not trusted', async () => {
  await window.openFile('names.py');
  await window.clickLens('Only here', 'Run cell · locally');
  await until('it says why nothing runs', async () =>
    (await window.notifications()).some((text) => /trust/i.test(text)),
  );
  const processes = await code.extensionProcesses();
  expect(processes.map(({ executable }) => path.basename(executable))).toEqual(['dipls']); // no session, and no Python
  expect(await exists(started)).toBe(false);
});

it('runs cells, with the interpreter of the folder, once it is trusted', async () => {
  await window.trust();
  await window.openFile('names.py');
  await window.clickLens('Only here', 'Run cell · locally');
  await window.outcome('Only here', /^✓/);
  expect(await exists(started)).toBe(true);
});
