/**
 * ANSI colours in output channels. VS Code shows channels in editors that do not understand control sequences. So the text goes there
 * without them, and decorations colour the lines in view.
 */
import * as vscode from 'vscode';
import { type Colour, type Style, spans } from '../ansi';
import { plain } from '../screen';

/** How many styles are known at a time: each is a decoration type of its own. */
const maxStyles = 128;

const types = new Map<string, vscode.TextEditorDecorationType>();

/** Colours the lines in view of an editor; `line` returns a line with its colour codes. */
export function paint(editor: vscode.TextEditor, line: (index: number) => string | undefined): void {
  const found = new Map<string, vscode.Range[]>();
  for (const visible of editor.visibleRanges) {
    for (let i = visible.start.line; i <= Math.min(visible.end.line, editor.document.lineCount - 1); i++) {
      const coloured = line(i);
      if (coloured?.includes('\x1b') && plain(coloured) === editor.document.lineAt(i).text) {
        enter(found, i, coloured);
      }
    }
  }
  for (const [key, type] of types) {
    editor.setDecorations(type, found.get(key) ?? []);
  }
}

function enter(found: Map<string, vscode.Range[]>, line: number, coloured: string): void {
  let column = 0;
  for (const { text, style } of spans(coloured)) {
    const end = column + text.length;
    const key = keyOf(style);
    if (key !== undefined) {
      const ranges = found.get(key) ?? [];
      ranges.push(new vscode.Range(line, column, line, end));
      found.set(key, ranges);
    }
    column = end;
  }
}

/** The name of a style's decoration type. Undefined for plain text, and when there are too many styles. */
function keyOf(style: Style): string | undefined {
  const key = JSON.stringify(style);
  if (key === '{}') {
    return undefined;
  }
  if (!types.has(key)) {
    if (types.size >= maxStyles) {
      return undefined;
    }
    types.set(key, vscode.window.createTextEditorDecorationType(options(style)));
  }
  return key;
}

function options(style: Style): vscode.DecorationRenderOptions {
  const fg = style.fg === undefined ? undefined : colour(style.fg);
  const bg = style.bg === undefined ? undefined : colour(style.bg);
  const lines = [style.underline && 'underline', style.strike && 'line-through'].filter((name) => name !== undefined);
  const [front, back] = style.inverse
    ? [bg ?? new vscode.ThemeColor('panel.background'), fg ?? new vscode.ThemeColor('foreground')]
    : [fg, bg];
  return {
    rangeBehavior: vscode.DecorationRangeBehavior.ClosedClosed,
    ...(front && { color: front }),
    ...(back && { backgroundColor: back }),
    ...(style.bold && { fontWeight: 'bold' }),
    ...(style.italic && { fontStyle: 'italic' }),
    ...(style.dim && { opacity: '0.7' }),
    ...(lines.length > 0 && { textDecoration: lines.join(' ') }),
  };
}

const names = ['Black', 'Red', 'Green', 'Yellow', 'Blue', 'Magenta', 'Cyan', 'White'];

function colour(of: Colour): vscode.ThemeColor | string {
  return typeof of === 'number'
    ? new vscode.ThemeColor(`terminal.ansi${of < 8 ? '' : 'Bright'}${names[of % 8] ?? 'White'}`)
    : `rgb(${of.join(', ')})`;
}
