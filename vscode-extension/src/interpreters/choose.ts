/** Lets the user choose the interpreter, with or without another extension that knows some. */
import { homedir } from 'node:os';
import * as vscode from 'vscode';
import { problem } from '../arguments';
import { choice } from '../ask';
import { showMessage } from '../messages';
import { isOurs, type Server } from '../server';
import { rows, setIn, settingOf } from './rows';

interface Item extends vscode.QuickPickItem {
  /** Of the setting; undefined: the usual search decides. */
  readonly value?: string | undefined;
  readonly browse?: true;
}

/** Registers the command. The choice is the setting `dip.python`: of the folder, or where there is none of the machine. */
export function registerChoice(server: Server): vscode.Disposable {
  return vscode.commands.registerCommand('dip.selectInterpreter', async () => {
    try {
      await choose(server);
    } catch (error) {
      void showMessage('error', problem(error));
    }
  });
}

async function choose(server: Server): Promise<void> {
  const active = vscode.window.activeTextEditor?.document;
  const document = active && isOurs(active) ? active.uri : undefined;
  const folders = vscode.workspace.workspaceFolders ?? [];
  const resource = ((document && vscode.workspace.getWorkspaceFolder(document)) ?? folders[0])?.uri;
  const setting = vscode.workspace.getConfiguration('dip', resource);
  const picker = vscode.window.createQuickPick<Item>();
  picker.title = 'Select interpreter';
  picker.placeholder = 'The Python that runs cells and ranks';
  picker.matchOnDescription = true;
  picker.matchOnDetail = true;
  picker.busy = true;
  const chosen = choice(picker);
  picker.show();
  try {
    const { interpreters } = await server.execute('dip.interpreters', document ? { uri: document.toString() } : {});
    picker.items = [
      ...rows(interpreters, resource?.fsPath, homedir()),
      { label: '', kind: vscode.QuickPickItemKind.Separator },
      {
        label: '$(folder-opened) Browse…',
        detail: 'Choose the program in a file dialog',
        browse: true,
        alwaysShow: true,
      },
      ...(setting.get<string>('python', '') === ''
        ? []
        : [
            {
              label: '$(discard) No choice of mine',
              detail: 'Clears dip.python: the usual search decides',
              alwaysShow: true,
            },
          ]),
    ];
    picker.activeItems = picker.items.filter((_, i) => interpreters[i]?.current === true);
    picker.busy = false;
    const item = await chosen;
    const value = item?.browse ? await browse(resource?.fsPath) : item?.value;
    if (item && !(item.browse && value === undefined)) {
      const { ConfigurationTarget } = vscode;
      const own = resource === undefined ? ConfigurationTarget.Global : ConfigurationTarget.WorkspaceFolder;
      const targets =
        value === undefined ? setIn(setting.inspect('python') ?? {}).map((at) => ConfigurationTarget[at]) : [own];
      for (const target of targets) {
        await setting.update('python', value, target);
      }
    }
  } finally {
    picker.dispose();
  }
}

async function browse(folder: string | undefined): Promise<string | undefined> {
  const files = await vscode.window.showOpenDialog({ title: 'Select interpreter', openLabel: 'Use' });
  const [file] = files ?? [];
  return file && settingOf(file.fsPath, folder);
}
