/** Python stacks of processes, as documents that cannot be edited; places in files are links. */
import * as vscode from 'vscode';
import type { ProcessStack } from '../generated/server';
import { foldedPlaces, type Place, places } from './places';

const scheme = 'dip-stack';

export class Stacks implements vscode.TextDocumentContentProvider, vscode.DocumentLinkProvider, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<vscode.Uri>();
  private readonly shown = new Map<string, { text: string; places: readonly Place[] }>();
  private readonly subscription: vscode.Disposable;

  readonly onDidChange = this.emitter.event;

  constructor() {
    this.subscription = vscode.Disposable.from(
      this.emitter,
      vscode.workspace.registerTextDocumentContentProvider(scheme, this),
      vscode.languages.registerDocumentLinkProvider({ scheme }, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        if (uri.scheme === scheme) {
          this.shown.delete(uri.path);
        }
      }),
    );
  }

  /** Shows a text about stacks under a name such as `rank 2`. It replaces an earlier one of that name. */
  async show(name: string, text: string, stacks: readonly ProcessStack[]): Promise<void> {
    const uri = vscode.Uri.from({ scheme, path: `Stack of ${name}` });
    this.shown.set(uri.path, { text, places: [...places(text), ...foldedPlaces(text, stacks)] });
    this.emitter.fire(uri);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.window.showTextDocument(document, { preview: true });
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.shown.get(uri.path)?.text ?? '';
  }

  provideDocumentLinks(document: vscode.TextDocument): vscode.DocumentLink[] {
    return (this.shown.get(document.uri.path)?.places ?? []).map(({ start, end, file, line }) => {
      const range = new vscode.Range(document.positionAt(start), document.positionAt(end));
      return new vscode.DocumentLink(range, vscode.Uri.file(file).with({ fragment: `L${line}` }));
    });
  }

  dispose(): void {
    this.subscription.dispose();
  }
}
