/**
 * How cells look in an editor: a line above each, the background of the one with the cursor, in the gutter how they ran, and, where no lens
 * says it, after their headers where they run.
 */
import * as vscode from 'vscode';
import { linesOf } from './edits';
import { icon } from './icons';
import { cellAt, type Mark, markOf } from './places';
import type { Watch } from './watch';

const marks: readonly Mark[] = ['queued', 'running', 'ok', 'failed', 'interrupted', 'gone', 'stale'];

export class Decorations implements vscode.Disposable {
  private readonly separator = vscode.window.createTextEditorDecorationType({
    isWholeLine: true,
    borderStyle: 'solid',
    borderWidth: '0 0 1px 0',
    borderColor: new vscode.ThemeColor('dip.cellSeparator'),
  });
  private readonly active = vscode.window.createTextEditorDecorationType({
    isWholeLine: true,
    backgroundColor: new vscode.ThemeColor('dip.activeCellBackground'),
  });
  private readonly goes = vscode.window.createTextEditorDecorationType({
    after: { color: new vscode.ThemeColor('editorCodeLens.foreground'), margin: '0 0 0 2em' },
  });
  private readonly gutter = marks.map(
    (mark) =>
      [
        mark,
        vscode.window.createTextEditorDecorationType({
          gutterIconSize: '80%',
          dark: { gutterIconPath: vscode.Uri.parse(icon(mark, 'dark')) },
          light: { gutterIconPath: vscode.Uri.parse(icon(mark, 'light')) },
        }),
      ] as const,
  );
  private readonly subscription: vscode.Disposable;
  private drawn = new WeakMap<vscode.TextEditor, Map<vscode.TextEditorDecorationType, string>>();

  constructor(private readonly watch: Watch) {
    this.subscription = vscode.Disposable.from(
      this.separator,
      this.active,
      this.goes,
      ...this.gutter.map(([, type]) => type),
      watch.onChange((editor) => {
        this.draw(editor);
      }),
      vscode.window.onDidChangeTextEditorSelection(({ textEditor }) => {
        this.drawActive(textEditor);
      }),
      vscode.workspace.onDidChangeConfiguration((change) => {
        if (['dip.cells', 'dip.codeLens', 'editor.codeLens'].some((key) => change.affectsConfiguration(key))) {
          vscode.window.visibleTextEditors.forEach((editor) => {
            this.draw(editor);
          });
        }
      }),
    );
  }

  dispose(): void {
    this.subscription.dispose();
  }

  private draw(editor: vscode.TextEditor): void {
    const settings = vscode.workspace.getConfiguration('dip.cells', editor.document);
    const cells = this.watch.shown(editor)?.cells ?? [];
    const starts = cells.filter((cell) => cell.range.start.line > 0 && linesOf(cell).header);
    // Drawn at the end of the line above, not at the beginning of the marker's line: the lenses between the two belong to the cell.
    const above = settings.get<boolean>('decorations', true) ? starts.map(({ range }) => range.start.line - 1) : [];
    this.set(editor, this.separator, above.map(lineAt));
    this.drawActive(editor);
    const untold =
      above.length > 0 && !lensesSayTargets(editor.document) ? starts.filter(({ goes }) => goes !== '') : [];
    this.set(
      editor,
      this.goes,
      untold.map(({ range }) => lineEnd(editor.document, range.start.line)),
      untold.map(({ goes }) => `→ ${goes}`),
    );
    for (const [mark, type] of this.gutter) {
      const ran = settings.get<boolean>('status', true) ? cells.filter((cell) => markOf(cell) === mark) : [];
      this.set(
        editor,
        type,
        ran.map(({ range }) => lineAt(range.start.line)),
      );
    }
  }

  private drawActive(editor: vscode.TextEditor): void {
    const shown = this.watch.shown(editor);
    if (shown && shown.version !== editor.document.version) {
      return; // until then VS Code moves the decorations with the text
    }
    const cell = vscode.workspace.getConfiguration('dip.cells', editor.document).get<boolean>('decorations', true)
      ? cellAt(shown?.cells ?? [], editor.selection.active.line)
      : undefined;
    const alone =
      cell && cell.number === 1 && !linesOf(cell).header && cell.range.end.line === editor.document.lineCount - 1;
    this.set(
      editor,
      this.active,
      cell && !alone ? [new vscode.Range(cell.range.start.line, 0, cell.range.end.line, 0)] : [],
    );
  }

  /** Draws, with a text behind each range if there are any, unless the same is drawn already: an animation would begin anew. */
  private set(
    editor: vscode.TextEditor,
    type: vscode.TextEditorDecorationType,
    ranges: readonly vscode.Range[],
    texts: readonly string[] = [],
  ): void {
    const drawn = this.drawn.get(editor) ?? new Map<vscode.TextEditorDecorationType, string>();
    this.drawn.set(editor, drawn);
    const places = ranges.map(({ start, end }, i) => `${start.line}-${end.line}${texts[i] ?? ''}`);
    const key = places.length > 0 ? `${editor.document.version}:${places.join(',')}` : '';
    if (key !== (drawn.get(type) ?? '')) {
      drawn.set(type, key);
      const behind = (text: string | undefined) => text && { renderOptions: { after: { contentText: text } } };
      editor.setDecorations(
        type,
        ranges.map((range, i) => ({ range, ...behind(texts[i]) })),
      );
    }
  }
}

/** Whether the lenses say where cells run. */
function lensesSayTargets(document: vscode.TextDocument): boolean {
  return (
    vscode.workspace.getConfiguration('editor', document).get<boolean>('codeLens', true) &&
    vscode.workspace.getConfiguration('dip', document).get<readonly string[]>('codeLens', []).includes('runCell')
  );
}

function lineEnd(document: vscode.TextDocument, line: number): vscode.Range {
  const { end } = document.lineAt(Math.min(line, document.lineCount - 1)).range;
  return new vscode.Range(end, end);
}

function lineAt(line: number): vscode.Range {
  return new vscode.Range(line, 0, line, 0);
}
