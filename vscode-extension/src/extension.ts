/** Wiring: the server, and one line for each feature. */
import * as vscode from 'vscode';
import { showCells } from './cells';
import { registerCommands } from './commands';
import { registerExample } from './example';
import { Interpreters } from './interpreter';
import { OutputChannels } from './output/channels';
import { Pool } from './pool';
import { ResultsView } from './results/view';
import { Runs } from './runs';
import { Server } from './server';
import { followChanges } from './trust';

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('Dip Server', { log: true });
  const interpreters = new Interpreters(log);
  const started = new Server(context, log, interpreters.of);
  const runs = new Runs();
  const pool = new Pool(started, runs);
  server = started;
  context.subscriptions.push(
    log,
    started,
    interpreters,
    pool,
    started.onEvent((event) => {
      runs.apply(event);
    }),
    started.onState((state) => {
      if (state === 'stopped') {
        runs.lost();
      }
    }),
    registerCommands(started, { confirm: pool.confirm, runs: () => runs.list }),
    showCells(started),
    new OutputChannels(started, runs),
    new ResultsView(context, started, runs),
    followChanges(started, interpreters),
    registerExample(context),
  );
  // Not awaited: the editor need not wait for the server, only commands do. The server tells the user itself what goes wrong.
  started.start().catch(() => undefined);
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}
