/** An example to try: a new document, so that nothing of the user's can be damaged. */
import { readFile } from 'node:fs/promises';
import * as vscode from 'vscode';

/**
 * Registers the command that shows it. The walkthrough names a command as well, which is executed at the first line that has a text: while its own page
 * is looked at, no editor says where.
 */
export function registerExample(context: vscode.ExtensionContext): vscode.Disposable {
  let shown: vscode.TextDocument | undefined;
  return vscode.commands.registerCommand('dip.openExample', async (command?: unknown, at?: unknown) => {
    if (!shown || shown.isClosed) {
      const content = await readFile(context.asAbsolutePath('walkthrough/example.py'), 'utf8');
      shown = await vscode.workspace.openTextDocument({ language: 'python', content });
    }
    const editor = await vscode.window.showTextDocument(shown);
    if (typeof command !== 'string' || typeof at !== 'string') {
      return;
    }
    const place = shown.positionAt(Math.max(0, shown.getText().indexOf(at)));
    editor.selection = new vscode.Selection(place, place);
    editor.revealRange(editor.selection, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
    await vscode.commands.executeCommand(command);
  });
}
