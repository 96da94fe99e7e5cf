/** Which folder's pool is meant: that of the Python file that the user looked at last. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import { isOurs, notebookCell } from '../server';

export class Focus implements vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<void>();
  private readonly subscriptions: vscode.Disposable[];
  private document: vscode.TextDocument | undefined;
  private looking = false;

  /** Another folder is meant now, or the user has turned to Python or away from it. */
  readonly onChange = this.emitter.event;

  constructor() {
    this.subscriptions = [
      vscode.window.onDidChangeActiveTextEditor(() => {
        this.look();
      }),
      vscode.workspace.onDidCloseTextDocument((closed) => {
        if (closed === this.document) {
          this.document = vscode.workspace.textDocuments.find(
            (open) => isOurs(open) && folderOf(open.uri) === folderOf(closed.uri),
          );
          this.emitter.fire();
        }
      }),
    ];
    this.look();
  }

  /** Whether the active editor has a file of ours. */
  get python(): boolean {
    return this.looking;
  }

  /** The folder as the server names it; undefined before any Python file was looked at. */
  get folder(): string | undefined {
    return this.document && folderOf(this.document.uri);
  }

  /** The argument of commands that says which folder is meant. */
  get where(): { uri?: string } {
    return this.document ? { uri: this.document.uri.toString() } : {};
  }

  dispose(): void {
    this.emitter.dispose();
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  private look(): void {
    const active = vscode.window.activeTextEditor?.document;
    this.looking = active !== undefined && isOurs(active);
    if (active && this.looking) {
      this.document = active;
    }
    this.emitter.fire();
  }
}

/** The innermost workspace folder around a document, else its own directory, as on the server. */
export function folderOf(uri: vscode.Uri): string | undefined {
  const file = uri.scheme === notebookCell ? vscode.Uri.file(uri.path) : uri;
  if (file.scheme !== 'file') {
    return vscode.workspace.workspaceFolders?.[0]?.uri.fsPath;
  }
  return vscode.workspace.getWorkspaceFolder(file)?.uri.fsPath ?? path.dirname(file.fsPath);
}
