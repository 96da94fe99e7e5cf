/** Values of several ranks side by side, as documents that cannot be edited. */
import * as vscode from 'vscode';

const scheme = 'dip-variable';

export class Comparisons implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<vscode.Uri>();
  private readonly shown = new Map<string, string>();
  private readonly subscription: vscode.Disposable;

  readonly onDidChange = this.emitter.event;

  constructor() {
    this.subscription = vscode.Disposable.from(
      this.emitter,
      vscode.workspace.registerTextDocumentContentProvider(scheme, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        if (uri.scheme === scheme) {
          this.shown.delete(uri.path);
        }
      }),
    );
  }

  /** Shows what there is to say of a variable, beside the editor. It replaces what was said of it before. */
  async show(name: string, text: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme, path: `${name.replaceAll('/', '∕')} on ranks` });
    this.shown.set(uri.path, text);
    this.emitter.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document, { preview: true, viewColumn: vscode.ViewColumn.Beside });
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.shown.get(uri.path) ?? '';
  }

  dispose(): void {
    this.subscription.dispose();
  }
}
