/** The command that makes a notebook, a page or a script of a file. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { problem } from '../arguments';
import { showMessage } from '../messages';
import { inNotebook, isOurs, type Server } from '../server';

interface Format extends vscode.QuickPickItem {
  readonly format: string;
  /** What the file's name ends with. */
  readonly ending: string;
}

const formats: Format[] = [
  { label: '$(notebook) Notebook', description: 'with the last outputs, by rank', format: 'ipynb', ending: '.ipynb' },
  { label: '$(browser) Page', description: 'HTML that needs nothing else', format: 'html', ending: '.html' },
  {
    label: '$(server-process) Script',
    description: 'for torchrun, srun, accelerate launch',
    format: 'torchrun',
    ending: '_job.py',
  },
];

export function registerExport(server: Server): vscode.Disposable {
  return vscode.commands.registerCommand('dip.export', async () => {
    try {
      await exportActive(server);
    } catch (error) {
      void showMessage('error', problem(error));
    }
  });
}

async function exportActive(server: Server): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (!document || !isOurs(document) || inNotebook(document)) {
    throw new Error('this is for a Python file: open one first');
  }
  const format = await vscode.window.showQuickPick(formats, {
    title: 'Export',
    placeHolder: 'What to make of the file',
  });
  if (!format) {
    return;
  }
  const { dir, name } = path.parse(document.uri.fsPath);
  const target = await vscode.window.showSaveDialog({
    title: 'Export',
    defaultUri: vscode.Uri.file(path.join(dir, `${name}${format.ending}`)),
  });
  if (!target) {
    return;
  }
  // The dialog has asked whether a file that is there may be replaced.
  const { path: file } = await server.execute('dip.export', {
    uri: document.uri.toString(),
    format: format.format,
    path: target.fsPath,
    force: true,
  });
  const open = 'Open';
  if ((await showMessage('information', `Exported to ${file}`, open)) === open) {
    const uri = vscode.Uri.file(file);
    await (format.format === 'html'
      ? vscode.env.openExternal(uri)
      : vscode.commands.executeCommand('vscode.open', uri));
  }
}
