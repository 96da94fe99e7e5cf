/** The server's commands in the palette, in menus and under keys: what they are about is where the cursor stands. */
import * as vscode from 'vscode';
import { type CommandArguments, commands } from './generated/server';
import { isOurs, type Server } from './server';

/** What the editor knows that arguments do not say: the document, the place in it, what is selected. */
function fromEditor(): Partial<CommandArguments['dip.runCell'] & CommandArguments['dip.runSelection']> {
  const editor = vscode.window.activeTextEditor;
  if (!editor || !isOurs(editor.document)) {
    return {};
  }
  const { selection, document } = editor;
  return { uri: document.uri.toString(), position: selection.active, range: { start: selection.start, end: selection.end } };
}

/** Registers every command of the server. Arguments of lenses, quick fixes and key bindings count more than the editor. */
export function registerCommands(server: Server): vscode.Disposable {
  return vscode.Disposable.from(
    ...commands.map(({ name }) =>
      vscode.commands.registerCommand(name, async (args?: object) => {
        const named = args !== undefined && !(args instanceof vscode.Uri) ? args : {};
        const placed = 'cell' in named || 'id' in named || 'position' in named;
        const { position, ...rest } = fromEditor();
        const all = { ...rest, ...(!placed && position && { position }), ...named };
        try {
          return await server.execute(name, all as CommandArguments[typeof name]);
        } catch (error) {
          void vscode.window.showErrorMessage(error instanceof Error ? error.message : String(error));
          return undefined;
        }
      }),
    ),
  );
}
