/** Cells in the editor: their commands and keys, and how they look. */
import * as vscode from 'vscode';
import { isOurs, type Server } from '../server';
import { registerActions } from './actions';
import { Decorations } from './decorations';
import { hasCells } from './places';
import { Watch } from './watch';

/** Shows the cells of Python files, and what is done with them. */
export function showCells(server: Server): vscode.Disposable {
  const watch = new Watch(server);
  return vscode.Disposable.from(watch, new Decorations(watch), registerActions(server), followContext(server, watch));
}

/** Keeps the context `dip`: the active editor has Python with cells, for which keys and menus are. */
function followContext(server: Server, watch: Watch): vscode.Disposable {
  let told: boolean | undefined;
  const tell = () => {
    const editor = vscode.window.activeTextEditor;
    const shown = editor && watch.shown(editor);
    if (editor && isOurs(editor.document) && server.state === 'running' && shown?.version !== editor.document.version) {
      return; // it will be known in a moment
    }
    const has = editor !== undefined && shown !== undefined && hasCells(shown.cells, editor.document.lineCount);
    if (has !== told) {
      told = has;
      void vscode.commands.executeCommand('setContext', 'dip', has);
    }
  };
  return vscode.Disposable.from(watch.onChange(tell), vscode.window.onDidChangeActiveTextEditor(tell));
}
