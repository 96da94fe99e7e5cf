/** An example to try: a new document, so that nothing of the user's can be damaged. */
import { readFile } from 'node:fs/promises';
import * as vscode from 'vscode';

/** Registers the command that opens it. */
export function registerExample(context: vscode.ExtensionContext): vscode.Disposable {
  return vscode.commands.registerCommand('dip.openExample', async () => {
    const content = await readFile(context.asAbsolutePath('walkthrough/example.py'), 'utf8');
    const document = await vscode.workspace.openTextDocument({ language: 'python', content });
    await vscode.window.showTextDocument(document);
  });
}
