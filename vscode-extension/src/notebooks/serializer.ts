/** Files of `# %%` cells as notebooks, for those who ask for it: the text editor stays the usual one. Outputs are not written. */
import * as vscode from 'vscode';
import { showMessage } from '../messages';
import type { Server } from '../server';
import { type Around, cellsOf, textOf, type Written } from './percent';

/** The type of notebooks that are files of cells. */
export const percentType = 'dip-percent';

/** What is kept beside a document and its cells. */
interface Kept extends Around {
  readonly mark: string; // a byte-order mark
}

const byteOrderMark = '\ufeff';

/** Registers the type, and the commands that open a file in one way or the other. */
export function registerPercent(server: Server): vscode.Disposable {
  return vscode.Disposable.from(
    vscode.workspace.registerNotebookSerializer(percentType, new Percent(server), { transientOutputs: true }),
    vscode.commands.registerCommand('dip.openAsNotebook', async (uri?: vscode.Uri) => {
      const document = vscode.window.activeTextEditor?.document;
      const file = uri ?? document?.uri;
      const open = vscode.workspace.textDocuments.find((other) => other.uri.toString() === file?.toString());
      if (file?.scheme !== 'file') {
        void showMessage('error', 'A notebook needs a file: save this one first.');
      } else if (!open?.isDirty || (await open.save())) {
        await vscode.commands.executeCommand('vscode.openWith', file, percentType);
      }
    }),
    vscode.commands.registerCommand('dip.openAsText', async () => {
      const notebook = vscode.window.activeNotebookEditor?.notebook;
      if (notebook && (!notebook.isDirty || (await notebook.save()))) {
        await vscode.commands.executeCommand('vscode.openWith', notebook.uri, 'default');
      }
    }),
  );
}

class Percent implements vscode.NotebookSerializer {
  constructor(private readonly server: Server) {}

  /** An error keeps the file from being opened so, and so from being changed. */
  async deserializeNotebook(content: Uint8Array): Promise<vscode.NotebookData> {
    const decoded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    const mark = decoded.startsWith(byteOrderMark) ? byteOrderMark : '';
    const { around, cells } = cellsOf(await this.server.split(decoded.slice(mark.length)));
    const notebook = new vscode.NotebookData(
      cells.map(({ kind, value, written }) => {
        const text = kind === 'markdown';
        const cell = new vscode.NotebookCellData(
          text ? vscode.NotebookCellKind.Markup : vscode.NotebookCellKind.Code,
          value,
          text ? 'markdown' : kind === 'raw' ? 'raw' : 'python',
        );
        cell.metadata = { dip: written };
        return cell;
      }),
    );
    notebook.metadata = { dip: { ...around, mark } satisfies Kept };
    return notebook;
  }

  serializeNotebook({ cells, metadata }: vscode.NotebookData): Uint8Array {
    const { mark = '', ...around } = (metadata?.dip as Kept | undefined) ?? { gap: '', eol: '\n' };
    const text = textOf(
      around,
      cells.map(({ kind, languageId, value, metadata }) => {
        const written = metadata?.dip as Written | undefined;
        return {
          kind: kind === vscode.NotebookCellKind.Markup ? 'markdown' : languageId === 'raw' ? 'raw' : 'code',
          value,
          ...(written && { written }),
        };
      }),
    );
    return new TextEncoder().encode(mark + text);
  }
}
