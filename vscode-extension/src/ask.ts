/** Questions to the user, each a list that can be filtered by typing. If the user closes the list, the answer is undefined. */
import * as vscode from 'vscode';
import { parseNames } from './arguments';
import type { Variable, VariableValue } from './generated/server';
import { hostsInPool, type OnHost, whose } from './ranks';
import { ranksToChoose } from './pool/rows';
import type { Run } from './runs';

/** Names of variables, chosen from a list or typed. Those in `first` are chosen at the beginning. */
export function askNames(
  title: string,
  variables: readonly Variable[],
  first: readonly string[],
): Promise<string[] | undefined> {
  const items = variables.map(({ name, values }) => ({ label: name, description: brief(values[0]) }));
  const picker = vscode.window.createQuickPick();
  picker.title = title;
  picker.placeholder = items.length > 0 ? 'Choose variables, or type names' : 'Type the names of variables';
  picker.canSelectMany = true;
  picker.matchOnDescription = true;
  picker.items = items;
  picker.selectedItems = items.filter(({ label }) => first.includes(label));
  return answer(picker, () => {
    // Typed text filters the list. It is taken as a name only if nothing in the list fits.
    const typed = picker.activeItems.length === 0 ? parseNames(picker.value) : [];
    const names = [...picker.selectedItems.map(({ label }) => label), ...(typed ?? [])];
    return typed && names.length > 0 ? names : undefined;
  });
}

/** A rank of a pool. */
export async function askRank(title: string, ranks: readonly OnHost[]): Promise<number | undefined> {
  if (ranks.length <= 1) {
    return 0;
  }
  const hostOf = hostsInPool(ranks);
  const items = ranks.map(({ rank }) => ({ label: whose([rank], hostOf), rank }));
  return (await vscode.window.showQuickPick(items, { title, placeHolder: 'Which rank?' }))?.rank;
}

/** Ranks of a pool, as the server reads them: all, a list such as `0,2-3`, or those of a host. */
export function askRanks(title: string, ranks: readonly OnHost[]): Promise<string | undefined> {
  const items = ranksToChoose(ranks);
  const picker = vscode.window.createQuickPick<(typeof items)[number]>();
  picker.title = title;
  picker.placeholder = 'Choose, or type a list such as 0,2-3';
  picker.items = items;
  return answer(picker, () => picker.activeItems[0]?.ranks ?? (picker.value.trim() || undefined));
}

/** One of the runs that are known, the last one first. */
export async function askRun(title: string, runs: readonly Run[]): Promise<string | undefined> {
  const items = runs
    .filter(({ id }) => id !== '')
    .toReversed()
    .map((run) => ({
      label: `$(${icon(run)}) ${run.event.title ?? `cell ${run.event.cell ?? ''}`}`,
      description: `${run.event.target} · ${new Date(run.started).toLocaleTimeString()}`,
      id: run.id,
    }));
  if (items.length === 0) {
    throw new Error('nothing has run yet');
  }
  return (await vscode.window.showQuickPick(items, { title, placeHolder: 'Which run?', matchOnDescription: true }))?.id;
}

/** The value in a few words. */
function brief(value: VariableValue | undefined): string {
  if (!value) {
    return '';
  }
  const { type, shape, device } = value;
  return [type, shape && `(${shape.join(', ')})`, device].filter((part) => part).join(' ');
}

function icon({ status }: Run): string {
  return status === undefined ? 'sync' : status === 'ok' ? 'check' : status === 'interrupted' ? 'debug-stop' : 'error';
}

/** The item that is chosen from a list, which closes with that; undefined if it is closed without. Whoever has made the list shows and disposes of it. */
export function choice<I extends vscode.QuickPickItem>(picker: vscode.QuickPick<I>): Promise<I | undefined> {
  return new Promise((resolve) => {
    picker.onDidAccept(() => {
      resolve(picker.activeItems[0]);
      picker.hide();
    });
    picker.onDidHide(() => {
      resolve(undefined);
    });
  });
}

/** Shows a list until it is closed or has an answer. */
function answer<A, I extends vscode.QuickPickItem>(
  picker: vscode.QuickPick<I>,
  read: () => A | undefined,
): Promise<A | undefined> {
  return new Promise((resolve) => {
    picker.onDidAccept(() => {
      const given = read();
      if (given !== undefined) {
        resolve(given);
        picker.hide();
      }
    });
    picker.onDidHide(() => {
      resolve(undefined);
      picker.dispose();
    });
    picker.show();
  });
}
