/** Wiring: the server, and one line for each feature. */
import * as vscode from 'vscode';
import { showCells } from './cells';
import { registerCommands } from './commands';
import { registerExample } from './example';
import { registerExport } from './history/export';
import { HistoryView } from './history/view';
import { registerChoice } from './interpreters/choose';
import { Interpreters } from './interpreters/known';
import { Notebooks } from './notebooks';
import { OutputChannels } from './output/channels';
import { Pool } from './pool';
import { Questions } from './questions';
import { registerTables } from './results/table';
import { ResultsView } from './results/view';
import { Runs } from './runs';
import { Server } from './server';
import { followSessions } from './sessions/follow';
import { Sessions } from './sessions/sessions';
import { followChanges } from './trust';

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('Dip Server', { log: true });
  const interpreters = new Interpreters(log);
  const sessions = new Sessions();
  const questions = new Questions();
  const started = new Server(context, log, interpreters.of, sessions, questions.ask);
  const runs = new Runs();
  const following = followSessions(runs, sessions); // before others, who ask the runs
  const pool = new Pool(started, runs, sessions);
  const notebooks = new Notebooks(started, runs);
  server = started;
  context.subscriptions.push(
    log,
    started,
    interpreters,
    questions,
    pool,
    started.onEvent((event) => {
      runs.apply(event);
    }),
    started.onGone((gone) => {
      runs.lose(gone);
    }),
    following,
    registerCommands(started, { confirm: pool.confirm, runs: () => runs.list, sessions }),
    showCells(started),
    new OutputChannels(started, runs, sessions),
    new ResultsView(context, started, runs, notebooks.shows),
    new HistoryView(started, runs),
    registerExport(started),
    registerTables(context, started, () => pool.where),
    notebooks,
    followChanges(started, interpreters),
    registerChoice(started),
    registerExample(context),
  );
  // Not awaited: the editor need not wait for the server, only commands do. The server tells the user itself what goes wrong.
  started.start().catch(() => undefined);
}

/** Ends the server. Sessions that outlive the window go on. */
export async function deactivate(): Promise<void> {
  await server?.stop();
}
