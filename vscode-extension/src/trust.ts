/** What changes while the server runs, and what it has to be told of: trust, settings, the interpreter. */
import * as vscode from 'vscode';
import type { Interpreters } from './interpreter';
import type { Server } from './server';

/** Tells the server of changes. Where it does not run there is nothing to tell: it asks when it begins. */
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
        await server.settingsChanged(); // there are settings, and an interpreter, that did not count before
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
