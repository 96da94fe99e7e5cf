/** An output in an editor of its own, as large as that is: the extension's side of it. */
import * as path from 'node:path';
import * as vscode from 'vscode';
import type { Rich } from '../timeline';
import { fromEnlarged, type ToEnlarged } from './messages';
import { bundleOf, page } from './page';
import { saveFile } from './save';

export function openEnlarged(context: vscode.ExtensionContext, output: Rich, whose: string, title: string): void {
  const bundle = bundleOf(context);
  const panel = vscode.window.createWebviewPanel('dip.enlarged', title, vscode.ViewColumn.Active, {
    enableScripts: true,
    localResourceRoots: [bundle],
    retainContextWhenHidden: false,
  });
  panel.iconPath = vscode.Uri.joinPath(context.extensionUri, 'images', 'dip.svg');
  const { webview } = panel;
  webview.onDidReceiveMessage(async (message: unknown) => {
    const known = fromEnlarged(message);
    switch (known?.type) {
      case 'ready': {
        const show: ToEnlarged = { type: 'show', output, whose };
        void webview.postMessage(show);
        break;
      }
      case 'save':
        await saveFile(
          `${path.parse(title).base.replaceAll(/[^\p{L}\p{N}._-]+/gu, '-')}.${known.extension}`,
          known.content,
        );
        break;
      case 'network':
        await vscode.commands.executeCommand('workbench.action.openSettings', 'dip.results.network');
        break;
      case 'tell':
        vscode.window.setStatusBarMessage(known.text, 5000);
    }
  });
  const load = (): void => {
    webview.html = page(webview, bundle, 'enlarged', title);
  };
  const watch = vscode.workspace.onDidChangeConfiguration((change) => {
    if (change.affectsConfiguration('dip.results.network')) {
      load(); // a page keeps the policy that it was loaded with
    }
  });
  panel.onDidDispose(() => {
    watch.dispose();
  });
  load();
}
