import { expect, test } from 'vitest';
import { rows, setIn } from '../src/interpreters/rows';

test('interpreters have versions, where they are, and a value for the setting that a moved folder keeps', () => {
  const of = (path: string, version: string, torch: string, kind: string, current?: true) => ({
    path,
    version,
    torch,
    kind,
    ...(current && { current }),
  });
  const found = [
    of('/home/zoë/my work/.venv/bin/python', '3.12.1', '2.4.0', 'venv', true),
    of('/home/zoë/miniconda3/bin/python', '3.11', '', 'conda'),
    of('/home/zoë/my workshop/bin/python', '', '', ''),
  ];
  expect(rows(found, '/home/zoë/my work', '/home/zoë')).toEqual([
    {
      label: 'Python 3.12.1 · torch 2.4.0',
      description: 'virtual environment · in use',
      detail: '.venv/bin/python',
      value: '${workspaceFolder}/.venv/bin/python',
    },
    {
      label: 'Python 3.11 · no torch',
      description: 'conda environment',
      detail: '~/miniconda3/bin/python',
      value: '/home/zoë/miniconda3/bin/python',
    },
    {
      label: 'Python · no torch',
      description: '',
      detail: '~/my workshop/bin/python',
      value: '/home/zoë/my workshop/bin/python',
    },
  ]);
  expect(rows(found, undefined, '/root').map(({ detail, value }) => [detail, value])).toEqual(
    found.map(({ path }) => [path, path]),
  );
});

test('a choice is taken back wherever it was made, not only in the folder', () => {
  expect(setIn({ globalValue: '/usr/bin/python3' })).toEqual(['Global']);
  expect(setIn({ globalValue: '', workspaceValue: 'a', workspaceFolderValue: 'b' })).toEqual([
    'Global',
    'Workspace',
    'WorkspaceFolder',
  ]);
  expect(setIn({})).toEqual([]);
});
