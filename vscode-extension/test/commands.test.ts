import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import { cellCommands, targetCommands } from '../src/cells/names';
import { commands } from '../src/generated/server';

interface Item {
  command?: string;
  submenu?: string;
  when?: string;
}
interface Key {
  command: string;
  key: string;
  when: string;
}
const { contributes } = JSON.parse(readFileSync(path.join(import.meta.dirname, '../package.json'), 'utf8')) as {
  contributes: {
    commands: { command: string; title: string; category: string; icon?: string }[];
    menus: Record<string, Item[]>;
    submenus: { id: string }[];
    keybindings: Key[];
  };
};
const titles = new Map(contributes.commands.map(({ command, title }) => [command, title]));

describe('commands', () => {
  test('those of the server and of cells are there, under their titles', () => {
    const wanted = [
      ...commands.map(({ name, title }) => [name, title] as const),
      ...Object.entries({ ...cellCommands, ...targetCommands }),
    ];
    expect(Object.fromEntries(wanted.map(([name]) => [name, titles.get(name)]))).toEqual(Object.fromEntries(wanted));
  });

  test('are each there once, and found under "Dip"', () => {
    expect(titles.size).toBe(contributes.commands.length);
    expect(contributes.commands.filter(({ category }) => category !== 'Dip')).toEqual([]);
  });

  test('in menus and under keys are commands that there are', () => {
    const used = [...Object.values(contributes.menus).flat(), ...contributes.keybindings].flatMap(
      ({ command }: Item) => command ?? [],
    );
    expect(used.filter((command) => !titles.has(command))).toEqual([]);
    const menus = contributes.menus;
    const submenus = Object.values(menus)
      .flat()
      .flatMap(({ submenu }) => submenu ?? []);
    expect(submenus.filter((id) => !(id in menus) || !contributes.submenus.some((menu) => menu.id === id))).toEqual([]);
  });

  test('are in the palette only where they make sense', () => {
    const conditions = new Map(contributes.menus.commandPalette?.map(({ command, when }) => [command, when]));
    expect([...titles.keys()].filter((command) => !conditions.get(command))).toEqual([]);
    expect(commands.map(({ name }) => name).filter((name) => conditions.get(name) === 'false')).toEqual([
      'dip.runDocuments',
      'dip.runCode',
      'dip.complete',
      'dip.runLine',
      'dip.status',
      'dip.gpus',
      'dip.interpreters',
      'dip.variables',
      'dip.table',
      'dip.stack',
      'dip.runs',
      'dip.recall',
    ]);
  });

  test('about a whole file are not offered in a notebook, whose cells are documents of their own', () => {
    const conditions = new Map(contributes.menus.commandPalette?.map(({ command, when }) => [command, when]));
    const whole = ['runAbove', 'runBelow', 'runAll', 'restartAndRunAll', 'restartAndRunTo', 'export', 'clear'];
    const wanted = 'editorLangId == python && activeEditor != workbench.editor.notebook';
    expect(whole.filter((name) => conditions.get(`dip.${name}`) !== wanted)).toEqual([]);
  });
});

describe('keys', () => {
  test('are for Python with cells, where the text has the focus, and can be turned off', () => {
    for (const { when } of contributes.keybindings) {
      const terms = when.split(' && ');
      if (terms.includes('focusedView == dip.results')) {
        expect(terms).toContain('config.dip.keys');
        continue;
      }
      expect(terms).toEqual(
        expect.arrayContaining([
          'dip',
          'config.dip.keys',
          'editorTextFocus',
          'editorLangId == python',
          '!notebookEditorFocused',
        ]),
      );
    }
  });

  test('that run something want a trusted workspace', () => {
    const run = contributes.keybindings.filter(({ command }) => /^dip\.run/.test(command));
    expect(run.map(({ key }) => key).toSorted()).toEqual([
      'alt+enter',
      'ctrl+alt+enter',
      'ctrl+enter',
      'ctrl+shift+alt+enter',
      'shift+alt+enter',
      'shift+enter',
      'shift+enter',
    ]);
    expect(run.filter(({ when }) => !when.includes('isWorkspaceTrusted'))).toEqual([]);
  });

  // Of bindings of several extensions that fit, VS Code takes the one that stands furthest down in its own extension's list. Those of the Python
  // and Jupyter extensions with the same keys are among the first ten of theirs.
  test('that run something come before those of other extensions', () => {
    const first = contributes.keybindings.findIndex(({ command }) => /^dip\.run/.test(command));
    expect(first).toBeGreaterThan(10);
    expect(contributes.keybindings.slice(first).filter(({ command }) => !/^dip\.run/.test(command))).toEqual([]);
  });

  test('mean one thing each', () => {
    const meanings = contributes.keybindings.map(({ key, when }) => `${key} ${when}`);
    expect(new Set(meanings).size).toBe(meanings.length);
  });
});
