import { readFileSync } from 'node:fs';
import * as path from 'node:path';
import { expect, test } from 'vitest';

const root = path.join(import.meta.dirname, '..');
const { contributes } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  contributes: {
    commands: { command: string; title: string }[];
    walkthroughs: { steps: { id: string; description: string; completionEvents: string[]; when?: string }[] }[];
  };
};
const steps = contributes.walkthroughs.flatMap((walkthrough) => walkthrough.steps);
const titles = new Map(contributes.commands.map(({ command, title }) => [command, title]));
const example = readFileSync(path.join(root, 'walkthrough/example.py'), 'utf8');

/** The buttons of the steps: their text, command and arguments. */
const buttons = steps.flatMap(({ description }) =>
  [...description.matchAll(/\[([^\]]+)\]\(command:([\w.]+)(?:\?([^)]*))?\)/g)].map(
    ([, text = '', command = '', given]) => ({
      text,
      command,
      args: given === undefined ? [] : (JSON.parse(decodeURIComponent(given)) as string[]),
    }),
  ),
);

/** Commands that every VS Code has, the second one for each view. */
const builtIn = ['workbench.trust.manage', 'dip.results.focus'];

test('every step has a button, which needs no other extension', () => {
  expect(steps.filter(({ description }) => !description.includes('](command:'))).toEqual([]);
  const unknown = buttons.flatMap(({ command, args: [then] }) => [command, ...(then === undefined ? [] : [then])]);
  expect(unknown.filter((command) => !titles.has(command) && !builtIn.includes(command))).toEqual([]);
});

test('buttons that run something show where: in the example, at a line that it has', () => {
  const running = buttons.filter(({ command, args }) => /^dip\.(run|push|pull)/.test(args[0] ?? command));
  expect(running.map(({ command }) => command)).toEqual(['dip.openExample', 'dip.openExample']);
  expect(running.filter(({ args: [, at = '?'] }) => !example.includes(at))).toEqual([]);
});

test('what completes a step is something that there is', () => {
  const events = steps.flatMap(({ completionEvents }) => completionEvents);
  const commands = events.flatMap((event) => /^onCommand:(dip\..*)$/.exec(event)?.[1] ?? []);
  expect(commands.filter((command) => !titles.has(command) && !builtIn.includes(command))).toEqual([]);
});

test('the first step of a folder that is not trusted leads to trust', () => {
  expect(steps[0]).toMatchObject({ id: 'trust', when: '!isWorkspaceTrusted' });
  expect(buttons[0]?.command).toBe('workbench.trust.manage');
});
