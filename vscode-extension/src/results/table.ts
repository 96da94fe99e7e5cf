/** Tables and arrays of the namespaces, a page at a time, in an editor of their own: the extension's side of it. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import { pathOf } from '../pool/variables';
import type { Server } from '../server';
import { fromTable, type ToTable } from './messages';
import { bundleOf, page } from './page';

/** Registers the command that opens a table: that of a row of the Variables view, else one whose name is asked for. */
export function registerTables(
  context: vscode.ExtensionContext,
  server: Server,
  where: () => { readonly uri?: string },
): vscode.Disposable {
  return vscode.commands.registerCommand('dip.variables.openTable', async (given: unknown) => {
    const name = pathOf(given) ?? (await askName());
    if (name) {
      openTable(context, server, name, where());
    }
  });
}

/** Asks for a name; the one at the cursor is proposed. */
function askName(): Thenable<string | undefined> {
  const editor = vscode.window.activeTextEditor;
  const word = editor?.document.getWordRangeAtPosition(editor.selection.active, /[^\W\d][\w.]*/u);
  return vscode.window.showInputBox({
    title: 'Open as table',
    prompt: 'Name of a DataFrame, an array or a tensor, such as batch or model.weight',
    value: word && editor ? editor.document.getText(word) : '',
  });
}

/** Opens a variable, or what a dotted name stands for. `where` says which folder's namespaces are meant. */
function openTable(
  context: vscode.ExtensionContext,
  server: Server,
  name: string,
  where: { readonly uri?: string },
): void {
  const bundle = bundleOf(context);
  const panel = vscode.window.createWebviewPanel('dip.table', name, vscode.ViewColumn.Active, {
    enableScripts: true,
    localResourceRoots: [bundle],
    retainContextWhenHidden: true, // what is sorted and filtered stays
  });
  panel.iconPath = vscode.Uri.joinPath(context.extensionUri, 'images', 'dip.svg');
  const { webview } = panel;
  const send = (message: ToTable): void => {
    void webview.postMessage(message);
  };
  webview.onDidReceiveMessage(async (message: unknown) => {
    const known = fromTable(message);
    if (known?.type === 'copy') {
      await vscode.env.clipboard.writeText(known.text);
    } else if (known) {
      try {
        const { tables } = await server.execute('dip.table', { ...known.part, name, ...where });
        send({ type: 'tables', number: known.number, tables });
      } catch (error) {
        send({ type: 'tables', number: known.number, tables: [], problem: problem(error) });
      }
    }
  });
  webview.html = page(webview, bundle, 'table', name);
}
