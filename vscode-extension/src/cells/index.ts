/** Cells in the editor: their commands and keys, and how they look. */
import * as vscode from 'vscode';
import { inNotebook, isOurs, type Server } from '../server';
import { registerActions } from './actions';
import { Decorations } from './decorations';
import { hasCells, seemsToHaveCells } from './places';
import { Watch } from './watch';

/** Registers everything about cells. */
export function showCells(server: Server): vscode.Disposable {
  const watch = new Watch(server);
  return vscode.Disposable.from(watch, new Decorations(watch), registerActions(server), followContext(watch));
}

/** Keeps the context key `dip`: the active editor has Python with cells. Keys and menus depend on it. */
function followContext(watch: Watch): vscode.Disposable {
  let told: boolean | undefined;
  const tell = () => {
    const has = answer(watch, vscode.window.activeTextEditor);
    if (has !== undefined && has !== told) {
      told = has;
      void vscode.commands.executeCommand('setContext', 'dip', has);
    }
  };
  tell();
  return vscode.Disposable.from(watch.onChange(tell), vscode.window.onDidChangeActiveTextEditor(tell));
}

/** Whether an editor has Python with cells. Undefined if that will be known in a moment, or if the editor does not count. */
function answer(watch: Watch, editor: vscode.TextEditor | undefined): boolean | undefined {
  if (editor?.document.uri.scheme === 'output') {
    return undefined; // a panel with text counts as an editor for VS Code; the buttons of the real editor stay
  }
  if (!editor || !isOurs(editor.document) || inNotebook(editor.document)) {
    return false;
  }
  const { document } = editor;
  const shown = watch.shown(editor);
  if (!shown) {
    return seemsToHaveCells(document.getText());
  }
  return shown.version === document.version ? hasCells(shown.cells, document.lineCount) : undefined;
}
