/** Where the server's binary is. */
import * as path from 'node:path';
import * as vscode from 'vscode';

/** The setting `dip.server.path`, else the binary that the extension carries. */
export function serverPath(context: vscode.ExtensionContext): string {
  const configured = vscode.workspace.getConfiguration('dip').get<string>('server.path');
  return configured ? configured : path.join(context.extensionPath, 'server', process.platform === 'win32' ? 'dipls.exe' : 'dipls');
}
