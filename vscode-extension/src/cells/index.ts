/** Cells in the editor: their commands and keys, and how they look. */
import * as vscode from 'vscode';
import { isOurs, type Server } from '../server';
import { registerActions } from './actions';
import { Decorations } from './decorations';
import { hasCells, seemsToHaveCells } from './places';
import { Watch } from './watch';

/** Shows the cells of Python files, and what is done with them. */
export function showCells(server: Server): vscode.Disposable {
  const watch = new Watch(server);
  return vscode.Disposable.from(watch, new Decorations(watch), registerActions(server), followContext(watch));
}

/** Keeps the context `dip`: the active editor has Python with cells, for which keys and menus are. */
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

/** Whether an editor has Python with cells; undefined if that will be known in a moment, or it is none that has a say. */
function answer(watch: Watch, editor: vscode.TextEditor | undefined): boolean | undefined {
  if (editor?.document.uri.scheme === 'output') {
    return undefined; // VS Code takes a panel with text for an editor; the buttons of the one above it stay
  }
  if (!editor || !isOurs(editor.document)) {
    return false;
  }
  const { document } = editor;
  const shown = watch.shown(editor);
  if (!shown) {
    return seemsToHaveCells(document.getText());
  }
  return shown.version === document.version ? hasCells(shown.cells, document.lineCount) : undefined;
}
