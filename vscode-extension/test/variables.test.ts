import { describe, expect, it } from 'vitest';
import type { VariableValue, VariablesReply } from '../src/generated/server';
import {
  busyProcesses,
  canPush,
  comparison,
  filtered,
  isModule,
  membersOf,
  merge,
  none,
  pathOf,
  pullRank,
  rowText,
  typeText,
  valueDetails,
  valueText,
} from '../src/pool/variables';

const int = (text: string, who: { local?: true; ranks?: string }): VariableValue => ({
  ...who,
  type: 'int',
  kind: 'instance',
  text,
});
const tensor: VariableValue = {
  ranks: '0-3',
  type: 'torch.Tensor',
  kind: 'instance',
  text: '[0, 1, …]',
  shape: [2, 500],
  dtype: 'float32',
  device: 'cuda:0',
  bytes: 4000,
};
const reply = (values: VariableValue[], busy?: string): VariablesReply => ({
  variables: values.length > 0 ? [{ name: 'x', values }] : [],
  ...(busy !== undefined && { busy }),
});
const all = (): boolean => true;
const shown = (...replies: VariablesReply[]): string[] =>
  replies.reduce((before, next) => merge(before, next, all), none).rows.map((row) => `${row.name}: ${rowText(row, 4)}`);

describe('rows of variables', () => {
  it('are one for all who agree', () => {
    expect(shown(reply([int('3', { local: true, ranks: '0-3' })]))).toEqual(['x: everywhere · int · 3']);
  });

  it('say that values differ, and whether their types do', () => {
    expect(shown(reply([int('3', { local: true }), int('4', { ranks: '0-1' })]))).toEqual([
      'x: local and ranks 0-1 · ≠ 2 values · int',
    ]);
    expect(shown(reply([int('3', { local: true }), tensor]))).toEqual(['x: everywhere · ≠ 2 values · 2 types']);
  });

  it('say type, shape, element type and device', () => {
    expect(typeText(tensor)).toBe('Tensor[2, 500] float32 cuda:0');
    expect(typeText({ type: 'list', kind: 'instance', text: '[1]', length: 1 })).toBe('list[1]');
    expect(valueText({ local: false, ranks: [0, 1, 2, 3], object: tensor }, true)).toBe(
      'Tensor[2, 500] float32 cuda:0',
    );
    expect(valueDetails({ local: true, ranks: [0], object: tensor })).toEqual([
      'torch.Tensor of shape (2, 500)',
      'float32',
      'on cuda:0',
      '4.0 kB',
      'local and rank 0',
    ]);
  });

  it('say of which rank alone they are', () => {
    expect(shown(reply([int('3', { ranks: '2' })]))).toEqual(['x: rank 2 only · int · 3']);
  });

  it('come after data if they are of functions, classes and modules', () => {
    const kinds = { f: 'function', C: 'class', os: 'module', z: 'instance' } as const;
    const variables = Object.entries(kinds).map(([name, kind]) => ({
      name,
      values: [{ ...int('1', { local: true }), kind }],
    }));
    const { rows } = merge(none, { variables }, all);
    expect(rows.map(({ name }) => name)).toEqual(['z', 'f', 'C', 'os']);
    expect(rows.map(isModule)).toEqual([false, false, false, true]);
  });

  it('are filtered by words of their names and types', () => {
    const variables = [
      { name: 'loss', values: [tensor] },
      { name: 'losses', values: [{ ...int('[]', { local: true }), type: 'list' }] },
      { name: 'x', values: [tensor] },
    ];
    const { rows } = merge(none, { variables }, all);
    const names = (text: string): string[] => filtered(rows, text).map(({ name }) => name);
    expect(names('LOSS')).toEqual(['loss', 'losses']);
    expect(names('loss tensor')).toEqual(['loss']);
    expect(names(' ')).toHaveLength(3);
    expect(names('cuda:1')).toEqual([]);
  });

  it('are compared side by side', () => {
    const other: VariableValue = { ...tensor, ranks: '3', text: '[9, …]', digest: 'norm 2' };
    const row = {
      name: 'w',
      values: membersOf(reply([{ ...tensor, ranks: '0-2', digest: 'norm 1' }, other]))[0]?.values ?? [],
    };
    const members = membersOf({
      variables: [
        { name: '.a', values: [int('1', { ranks: '0-2' }), int('2', { ranks: '3' })] },
        { name: '.b', values: [int('1', { ranks: '0-3' })] },
      ],
    });
    expect(comparison('w', row, [], members)).toBe(
      [
        'w: 2 different values',
        '',
        '         ranks 0-2     rank 3',
        'type     torch.Tensor  torch.Tensor',
        'shape    (2, 500)      (2, 500)',
        'dtype    float32       float32',
        'device   cuda:0        cuda:0',
        'digest ≠ norm 1        norm 2',
        'value  ≠ [0, 1, …]     [9, …]',
        '',
        'w.a: 2 different values',
        '         ranks 0-2  rank 3',
        'value  ≠ int · 1    int · 2',
        '',
        '1 member is the same',
        '',
      ].join('\n'),
    );
  });

  it('are in the order of their names', () => {
    const { rows } = merge(
      none,
      { variables: ['b', 'a', 'B'].map((name) => ({ name, values: [int('1', { local: true })] })) },
      all,
    );
    expect(rows.map(({ name }) => name)).toEqual(['B', 'a', 'b']);
  });
});

describe('processes that are busy', () => {
  it('are read as the server names them', () => {
    expect([...busyProcesses('local and ranks 0,2-3')]).toEqual([-1, 0, 2, 3]);
    expect([...busyProcesses('rank 2')]).toEqual([2]);
    expect([...busyProcesses('ranks 2-3 (gpu1)')]).toEqual([2, 3]);
    expect([...busyProcesses('')]).toEqual([]);
  });

  it('keep what they held', () => {
    const before = reply([int('3', { local: true, ranks: '0-3' })]);
    expect(shown(before, reply([], 'local and ranks 0-3'))).toEqual(['x: everywhere · int · 3']);
    expect(shown(before, reply([int('4', { local: true, ranks: '0-1' })], 'ranks 2-3'))).toEqual([
      'x: everywhere · ≠ 2 values · int',
    ]);
    expect(shown(before, reply([int('3', { ranks: '0-1' })], 'ranks 2-3'))).toEqual(['x: all ranks · int · 3']);
  });

  it('keep nothing of those that were there before them', () => {
    const before = merge(none, reply([int('3', { local: true, ranks: '0-1' })]), all);
    const { rows } = merge(before, reply([], 'local and ranks 0-1'), (process) => process < 0);
    expect(rows.map((row) => rowText(row))).toEqual(['local · int · 3']);
  });

  it('name the host of their ranks, where the pool is on several', () => {
    const [row] = merge(none, reply([int('3', { ranks: '2-3' })]), all).rows;
    expect(row && rowText(row, 4, (rank) => (rank < 2 ? 'gpu1' : 'gpu2'))).toBe('ranks 2-3 (gpu2) · int · 3');
  });

  it('forget what is gone once they answer', () => {
    expect(shown(reply([int('3', { local: true })]), reply([]))).toEqual([]);
  });
});

describe('transfers', () => {
  const { rows } = merge(none, reply([int('3', { local: true }), int('4', { ranks: '2-3' })]), all);

  it('are of those who have the variable', () => {
    expect(rows.map(canPush)).toEqual([true]);
    expect(rows.map(({ values }) => pullRank(values))).toEqual([2]);
    expect(pullRank([])).toBeUndefined();
  });
});

it('tells a row of the view from the document that the menu of an editor passes', () => {
  expect(pathOf({ path: 'model.fc', row: {} })).toBe('model.fc');
  expect(pathOf({ scheme: 'file', path: '/home/u/train.py', fsPath: '/home/u/train.py' })).toBeUndefined();
  expect(pathOf(undefined)).toBeUndefined();
});
