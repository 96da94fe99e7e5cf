/** Questions to the user about sessions. If the user closes one, the answer is undefined. */
import { homedir } from 'node:os';
import * as vscode from 'vscode';
import type { ListedSession } from '../generated/server';
import { problem } from '../arguments';
import { choice } from '../ask';
import { confirmed, showMessage } from '../messages';
import type { Server } from '../server';
import type { Tie } from './sessions';
import { journals } from './journals';
import { listedText, stopQuestion } from './words';

interface Row extends vscode.QuickPickItem {
  readonly attach: { readonly name?: string; readonly dir: string };
  readonly session?: ListedSession; // absent: the folder's own, which is not there
}

const log: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('output'), tooltip: 'Show log' };
const stop: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('trash'), tooltip: 'End session…' };

/** Says which folder is meant, by a document of it. */
interface Where {
  readonly uri?: string;
}

/**
 * One of the user's sessions on this machine, or without a name the folder's own, which is not there. A button of a session shows its log,
 * another one stops it.
 */
export async function askSession(server: Server, title: string, where: Where): Promise<Row['attach'] | undefined> {
  const picker = vscode.window.createQuickPick<Row>();
  picker.title = title;
  picker.placeholder = 'The session to attach to';
  picker.matchOnDescription = true;
  picker.matchOnDetail = true;
  const list = async (): Promise<void> => {
    picker.busy = true;
    const { sessions, own } = await server.execute('dip.sessions', where);
    picker.items = [...sessions.map(row), ...(own === undefined ? [] : [ownRow(own)])];
    picker.busy = false;
    if (picker.items.length === 0) {
      picker.placeholder = 'There is no session that outlives its editor';
    }
  };
  picker.onDidTriggerItemButton(async ({ button, item }) => {
    try {
      if (item.session) {
        await (button === log ? showFile(item.session.log ?? '') : stopSession(server, item.session));
      }
    } catch (error) {
      void showMessage('error', problem(error));
    }
  });
  const chosen = choice(picker);
  picker.show();
  try {
    await list();
    return (await chosen)?.attach;
  } finally {
    picker.dispose();
  }
}

/** The new name of a session. */
export function askSessionName(title: string, now: string): Thenable<string | undefined> {
  return vscode.window.showInputBox({
    title,
    value: now,
    prompt: 'The name of the session, as dipls attach NAME takes it',
    validateInput: (text) => (/^[^/\s][^/]*$/.test(text) ? undefined : 'A name without a slash'),
  });
}

/** Whether a session, or without a name that of the folder, may end: the user is asked if anything would be lost. */
export async function confirmStop(
  server: Server,
  { name, dir, uri }: Where & { readonly name?: string; readonly dir?: string },
): Promise<boolean> {
  const { sessions } = await server.execute('dip.sessions', uri === undefined ? {} : { uri });
  const session = sessions.find((other) =>
    name === undefined ? other.current : other.name === name && (dir === undefined || other.dir === dir),
  );
  return session === undefined || confirm(session);
}

/** Shows a file of a session. */
export async function showFile(file: string): Promise<void> {
  await vscode.window.showTextDocument(vscode.Uri.file(file), { preview: true });
}

/** Lets the user choose a run of a session's journals, and shows its output. */
export async function showJournals({ journal, folder, since, name }: Tie): Promise<void> {
  const found = await journals(journal, vscode.Uri.parse(folder).fsPath, Date.parse(since)).catch(() => []);
  const items = found.map(({ run, title, started, status = 'not ended' }) => ({
    label: title,
    description: `${new Date(started).toLocaleString()} · ${status}`,
    run,
  }));
  const title = `Journals of session ${name}`;
  const placeHolder = items.length > 0 ? 'The run whose output is shown' : `There are none of its runs in ${journal}`;
  const chosen = await vscode.window.showQuickPick(items, { title, placeHolder, matchOnDescription: true });
  if (chosen) {
    await vscode.commands.executeCommand('dip.showOutput', { run: chosen.run });
  }
}

async function stopSession(server: Server, session: ListedSession): Promise<void> {
  if (await confirm(session)) {
    const { text } = await server.execute('dip.stopSession', { name: session.name ?? '', dir: session.dir });
    vscode.window.setStatusBarMessage(`Dip: ${text}`, 4000);
  }
}

async function confirm(session: ListedSession): Promise<boolean> {
  const asked = stopQuestion(session);
  if (!asked || !vscode.workspace.getConfiguration('dip').get<boolean>('confirmRestart', true)) {
    return true;
  }
  const { text, detail } = asked;
  const action = 'End session';
  return confirmed(text, detail, action);
}

function row(session: ListedSession): Row {
  const { name = '', dir, problem, current } = session;
  return {
    label: `$(${current ? 'check' : problem === undefined ? 'server-process' : 'warning'}) ${name}`,
    description: inHome(dir),
    detail: listedText(session),
    buttons: [...(session.log ? [log] : []), stop],
    attach: { name, dir },
    session,
  };
}

function ownRow(dir: string): Row {
  return { label: "$(home) The folder's own session", description: inHome(dir), detail: 'is started', attach: { dir } };
}

/** A path as people write it. */
function inHome(dir: string): string {
  const home = homedir();
  return dir.startsWith(`${home}/`) ? `~${dir.slice(home.length)}` : dir;
}
