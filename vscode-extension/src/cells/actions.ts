/** What one does with cells in an editor: run them in several ways, go from one to another, edit them. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import type { CellInfo } from '../generated/server';
import { showMessage } from '../messages';
import { isOurs, type Server } from '../server';
import {
  type Change,
  entry,
  hasBody,
  insertAbove,
  insertBelow,
  linesOf,
  remove,
  split,
  swap,
  type Text,
  whole,
} from './edits';
import type { CellCommand } from './names';
import { cellAt } from './places';

type Act = (editor: vscode.TextEditor) => Promise<void>;

/** Registers the commands of cells. */
export function registerActions(server: Server): vscode.Disposable {
  const actions = new Actions(server);
  return vscode.Disposable.from(
    ...Object.entries(actions.all).map(([name, act]) =>
      vscode.commands.registerCommand(name, async () => {
        const editor = vscode.window.activeTextEditor;
        if (editor && isOurs(editor.document)) {
          await actions.inTurn(() => act(editor));
        }
      }),
    ),
  );
}

class Actions {
  /** Resolves when everything asked for so far has been done. */
  private last: Promise<void> = Promise.resolve();

  constructor(private readonly server: Server) {}

  readonly all: Record<CellCommand, Act> = {
    'dip.runCellAndAdvance': (editor) => this.runAndAdvance(editor),
    'dip.runCellAndInsertBelow': async (editor) => {
      const cell = await this.run(editor);
      await this.edit(editor, cell, (text, lines) => insertBelow(text, lines));
    },
    'dip.nextCell': async (editor) => {
      const next = await this.below(editor, await this.current(editor));
      if (next) {
        enter(editor, next);
      }
    },
    'dip.previousCell': async (editor) => {
      const above = await this.above(editor, await this.current(editor));
      if (above) {
        enter(editor, above);
      }
    },
    'dip.selectCell': async (editor) => {
      const cell = await this.current(editor);
      if (cell) {
        const { start, end } = whole(textOf(editor.document), linesOf(cell));
        editor.selection = new vscode.Selection(position(start), position(end));
        editor.revealRange(editor.selection, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
      }
    },
    'dip.insertCellAbove': async (editor) => {
      const cell = await this.current(editor);
      await this.edit(editor, cell, (text, lines) => (lines ? insertAbove(text, lines) : insertBelow(text, undefined)));
    },
    'dip.insertCellBelow': async (editor) => {
      await this.edit(editor, await this.current(editor), insertBelow);
    },
    'dip.splitCell': (editor) => this.split(editor),
    'dip.moveCellUp': async (editor) => {
      const cell = await this.current(editor);
      const above = await this.above(editor, cell);
      if (cell && above) {
        await this.edit(editor, cell, (text) =>
          swap(text, linesOf(above), linesOf(cell), 'lower', editor.selection.active),
        );
      }
    },
    'dip.moveCellDown': async (editor) => {
      const cell = await this.current(editor);
      const below = await this.below(editor, cell);
      if (cell && below) {
        await this.edit(editor, cell, (text) =>
          swap(text, linesOf(cell), linesOf(below), 'upper', editor.selection.active),
        );
      }
    },
    'dip.deleteCell': async (editor) => {
      const cell = await this.current(editor);
      if (cell) {
        await this.edit(editor, cell, (text) => remove(text, linesOf(cell)));
      }
    },
  };

  /** Does something after everything asked for before it: pressing a key three times means three cells. */
  inTurn(act: () => Promise<void>): Promise<void> {
    this.last = this.last.then(act).catch((error: unknown) => {
      void showMessage('error', problem(error));
    });
    return this.last;
  }

  /** Runs the cell of the cursor, if there is anything in it to run, and returns it. */
  private async run(editor: vscode.TextEditor): Promise<CellInfo | undefined> {
    const cell = await this.current(editor);
    if (cell?.kind === 'code' && hasBody(textOf(editor.document), linesOf(cell))) {
      // When the server answers it has taken the text, so later edits do not matter.
      await this.server.execute('dip.runCell', { uri: editor.document.uri.toString(), id: cell.id });
    }
    return cell;
  }

  /** Runs the cell of the cursor and goes to the next one. After the last cell, unless that is empty, a new one is made, as in a notebook. */
  private async runAndAdvance(editor: vscode.TextEditor): Promise<void> {
    const cell = await this.run(editor);
    const next = await this.below(editor, cell);
    if (next) {
      enter(editor, next);
    } else if (cell && hasBody(textOf(editor.document), linesOf(cell))) {
      await this.edit(editor, cell, insertBelow);
    }
  }

  /** Splits the cell of the cursor, unless a marker would not count there, as in a string or in brackets. */
  private async split(editor: vscode.TextEditor): Promise<void> {
    const cell = await this.current(editor);
    if (!cell) {
      return;
    }
    const change = split(textOf(editor.document), linesOf(cell), editor.selection);
    if (!(await apply(editor, change)) || change.edits.length === 0) {
      return;
    }
    const { version } = editor.document;
    const half = await this.current(editor);
    const isSplit = half?.number === cell.number + 1;
    if (!isSplit && editor.document.version === version) {
      await vscode.commands.executeCommand('undo');
      vscode.window.setStatusBarMessage('Dip: a cell cannot be split inside of a string or brackets', 4000);
    }
  }

  private async edit(
    editor: vscode.TextEditor,
    cell: CellInfo | undefined,
    change: (text: Text, lines: ReturnType<typeof linesOf> | undefined) => Change,
  ): Promise<void> {
    await apply(editor, change(textOf(editor.document), cell && linesOf(cell)));
  }

  private current(editor: vscode.TextEditor): Promise<CellInfo | undefined> {
    return this.at(editor.document, editor.selection.active.line);
  }

  private below(editor: vscode.TextEditor, cell: CellInfo | undefined): Promise<CellInfo | undefined> {
    const line = cell ? cell.range.end.line + 1 : editor.selection.active.line;
    return line < editor.document.lineCount ? this.from(editor.document, line) : Promise.resolve(undefined);
  }

  private async above({ document }: vscode.TextEditor, cell: CellInfo | undefined): Promise<CellInfo | undefined> {
    return cell && cell.range.start.line > 0 ? this.at(document, cell.range.start.line - 1) : undefined;
  }

  /** The cell of a line. */
  private async at(document: vscode.TextDocument, line: number): Promise<CellInfo | undefined> {
    return cellAt(await this.cells(document, new vscode.Range(line, 0, line, 0)), line);
  }

  /** The cell of a line, or else the first one below it. */
  private async from(document: vscode.TextDocument, line: number): Promise<CellInfo | undefined> {
    return (
      (await this.at(document, line)) ?? (await this.cells(document)).find(({ range }) => range.start.line >= line)
    );
  }

  /** The cells of the document's present text. */
  private async cells(document: vscode.TextDocument, range?: vscode.Range): Promise<readonly CellInfo[]> {
    for (;;) {
      const { version, cells } = await this.server.cells(document, range);
      if (version === document.version) {
        return cells;
      }
    }
  }
}

/** Goes into a cell, and scrolls so that all of it is in view, if it is short enough. */
function enter(editor: vscode.TextEditor, cell: CellInfo): void {
  const lines = linesOf(cell);
  const place = position(entry(textOf(editor.document), lines));
  editor.selection = new vscode.Selection(place, place);
  const shown = new vscode.Range(lines.first, 0, Math.min(lines.last, lines.first + maxRevealed), 0);
  editor.revealRange(shown, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}

/** How many lines of a cell should be seen when one goes to it. */
const maxRevealed = 10;

/** Makes a change that is undone in one step. False if the text has changed meanwhile. */
async function apply(editor: vscode.TextEditor, { edits, cursor }: Change): Promise<boolean> {
  const done = await editor.edit((builder) => {
    for (const { start, end, text } of edits) {
      builder.replace(new vscode.Range(position(start), position(end)), text);
    }
  });
  if (done) {
    const place = position(cursor);
    editor.selection = new vscode.Selection(place, place);
    editor.revealRange(editor.selection, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }
  return done;
}

function textOf(document: vscode.TextDocument): Text {
  return {
    lineCount: document.lineCount,
    eol: document.eol === vscode.EndOfLine.CRLF ? '\r\n' : '\n',
    line: (number) => document.lineAt(number).text,
  };
}

function position({ line, character }: { line: number; character: number }): vscode.Position {
  return new vscode.Position(line, character);
}
