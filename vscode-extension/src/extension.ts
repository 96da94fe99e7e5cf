/** Wiring: the server, and one line for each feature. */
import * as vscode from 'vscode';
import { registerCommands } from './commands';
import { Server } from './server';

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('Dip Server', { log: true });
  const started = new Server(context, log, () => Promise.resolve(undefined));
  server = started;
  context.subscriptions.push(log, started, registerCommands(started));
  // Not awaited: the editor need not wait for the server, commands do.
  started.start().catch((error: unknown) => {
    log.error(String(error));
  });
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
