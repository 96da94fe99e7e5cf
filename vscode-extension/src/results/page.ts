/** The pages of the results: what they may load, and where from. */
import { randomBytes } from 'node:crypto';
import * as vscode from 'vscode';
import { pageText } from './pageText';

/** Whether outputs may use the network. */
export function networkAllowed(): boolean {
  return vscode.workspace.getConfiguration('dip').get<boolean>('results.network', false);
}

/** Where the files of pages are. */
export function bundleOf(context: vscode.ExtensionContext): vscode.Uri {
  return vscode.Uri.joinPath(context.extensionUri, 'dist');
}

/**
 * A page that loads its own script and style, what draws rich output, and images that are in its text. Nothing else, unless outputs may use the
 * network: the frames of outputs obey this policy and a stricter one of their own (`webview/frames.ts`).
 */
export function page(
  webview: vscode.Webview,
  bundle: vscode.Uri,
  name: 'results' | 'enlarged' | 'table',
  title: string,
): string {
  const nonce = randomBytes(16).toString('base64');
  const url = (...parts: string[]): string => webview.asWebviewUri(vscode.Uri.joinPath(bundle, ...parts)).toString();
  return pageText({
    nonce,
    source: webview.cspSource,
    network: name !== 'table' && networkAllowed(), // tables show text only
    title,
    style: url('results.css'),
    script: url(`${name}.js`),
    renderers: url('renderers'),
  });
}
