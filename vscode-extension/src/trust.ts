/** Tells the server of what changes while it runs: trust, settings, the interpreter. */
import * as vscode from 'vscode';
import type { Interpreters } from './interpreters/known';
import type { Server } from './server';

/** Tells the server of changes. A server that does not run asks when it starts. */
export function followChanges(server: Server, interpreters: Interpreters): vscode.Disposable {
  const tell = (what: () => Promise<void>) => {
    if (server.state === 'stopped') {
      return;
    }
    what().catch((error: unknown) => {
      server.log.warn(String(error));
    });
  };
  return vscode.Disposable.from(
    vscode.workspace.onDidGrantWorkspaceTrust(() => {
      tell(async () => {
        await server.trust();
        await server.settingsChanged(); // settings and an interpreter that did not count before count now
      });
    }),
    interpreters.onDidChange(() => {
      tell(() => server.settingsChanged());
    }),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration('dip.server.path')) {
        server.restart().catch(() => undefined); // the user has been told
      } else if (change.affectsConfiguration('dip')) {
        tell(() => server.settingsChanged());
      }
    }),
    vscode.commands.registerCommand('dip.restartServer', () => server.restart().catch(() => undefined)),
    vscode.commands.registerCommand('dip.showLog', () => {
      server.log.show();
    }),
  );
}
