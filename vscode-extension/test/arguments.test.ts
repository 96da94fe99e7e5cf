import { readdirSync, readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import { fill, parseNames, problem, said } from '../src/arguments';

const start = { line: 3, character: 0 };
const end = { line: 4, character: 2 };
const place = { uri: 'file:///a.py', position: end, range: { start, end } };

describe('what a command is about', () => {
  test.each([
    ['a cell: that of the cursor', 'dip.runCell', {}, { uri: place.uri, position: end }],
    ['a cell with a target', 'dip.runCell', { target: 'remote' }, { uri: place.uri, position: end, target: 'remote' }],
    ['the cell of a lens', 'dip.runCell', { uri: place.uri, id: 7, cell: 2 }, { uri: place.uri, id: 7, cell: 2 }],
    ['a place of a key binding', 'dip.runAbove', { position: start }, { uri: place.uri, position: start }],
    ['a document', 'dip.runAll', {}, { uri: place.uri }],
    ['what is selected', 'dip.runSelection', {}, { uri: place.uri, range: place.range }],
    ['a workspace', 'dip.restartPool', {}, { uri: place.uri }],
    ['another document, whose cursor is not here', 'dip.runCell', { uri: 'file:///b.py' }, { uri: 'file:///b.py' }],
  ] as const)('%s', (_, command, given, expected) => {
    expect(fill(command, given, place)).toEqual(expected);
  });

  test('without a Python file only what needs none can be done', () => {
    expect(fill('dip.runCell', {}, undefined)).toBeUndefined();
    expect(fill('dip.runAll', { target: 'local' }, undefined)).toBeUndefined();
    expect(fill('dip.runAll', { uri: 'file:///b.py' }, undefined)).toEqual({ uri: 'file:///b.py' });
    expect(fill('dip.interrupt', { run: '3f9a2c-1' }, undefined)).toEqual({ run: '3f9a2c-1' });
  });
});

test('problems are told without the name of the command', () => {
  expect(problem(new Error('dip.runCell: cell 2 has no code to run'))).toBe('cell 2 has no code to run');
  expect(problem('gone')).toBe('gone');
});

test('names are typed with blanks or commas between them', () => {
  expect(parseNames(' model, größe_2 _x')).toEqual(['model', 'größe_2', '_x']);
  expect(parseNames('')).toEqual([]);
  expect(parseNames('model.weight')).toBeUndefined();
  expect(parseNames('2x')).toBeUndefined();
});

describe('messages and prompts', () => {
  const link = '[details](command:workbench.action.terminal.sendSequence?%7B%7D)';
  // How VS Code finds links in them.
  const links = /\[([^\]]+)\]\(((?:https?:\/\/|command:|file:)[^)\s]+)(?: (["'])(.+?)(\3))?\)/i;

  test('make no links of what they quote', () => {
    expect(link).toMatch(links);
    expect(said(`ValueError: ${link}`)).not.toMatch(links);
    expect(said('train(x)[0] (y)')).toBe('train(x)[0] (y)');
  });

  test('are all shown by what sees to that', () => {
    const root = path.join(import.meta.dirname, '../src');
    const bare = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
      (file) =>
        file.endsWith('.ts') &&
        file !== 'messages.ts' &&
        /\.show(Error|Warning|Information)Message\b|\.prompt = (?!said\()/.test(
          readFileSync(path.join(root, file), 'utf8'),
        ),
    );
    expect(bare).toEqual([]);
  });
});
