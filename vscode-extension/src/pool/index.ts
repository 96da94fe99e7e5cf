/** The pool: the status-bar item and its menu, the Ranks and the Variables view. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import type { DipEvent, HangEvent, WorkspaceStatus } from '../generated/server';
import { Alarms } from '../hangs';
import { showMessage } from '../messages';
import type { Runs } from '../runs';
import type { Server } from '../server';
import type { Sessions } from '../sessions/sessions';
import { type Confirm, confirmLosses } from './confirm';
import { Failures } from './failures';
import { Focus } from './focus';
import { ended, type Ended } from './longRuns';
import { Menu } from './menu';
import { Pools } from './pools';
import { type Node as RankNode, RanksView } from './ranksView';
import { hangsOf, hasPool, hostsOfPool, processName, workspaceOf } from './rows';
import { Stacks } from './stack';
import { showStatusBar } from './statusBar';
import { type Node as VariableNode, VariablesView } from './variablesView';

export class Pool implements vscode.Disposable {
  /** Asks before a command ends processes that hold variables. */
  readonly confirm: Confirm;

  private readonly pools: Pools;
  private readonly focus = new Focus();
  private readonly stacks = new Stacks();
  private readonly subscription: vscode.Disposable;

  constructor(
    private readonly server: Server,
    private readonly runs: Runs,
    sessions: Sessions,
  ) {
    const failures = new Failures(runs);
    const alarms = new Alarms();
    const hangs = (workspace: WorkspaceStatus | undefined): HangEvent[] => this.hangs(workspace);
    // Only if the server runs: looking must not start one that is about to end, or that has given up.
    this.pools = new Pools(async (memory) =>
      server.state === 'running' ? server.execute('dip.status', memory ? { memory } : {}) : { workspaces: [] },
    );
    this.confirm = confirmLosses(server, this.pools, this.focus);
    const tellAlarm = (event: DipEvent): void => {
      const alarm = alarms.apply(event);
      if (alarm) {
        void this.tellHang(alarm);
      }
    };
    const ranks = new RanksView(this.pools, this.focus, hangs);
    const variables = new VariablesView(server, this.pools, this.focus);
    const menu = new Menu(server, this.pools, sessions, this.focus);
    this.subscription = vscode.Disposable.from(
      this.pools,
      this.focus,
      this.stacks,
      ranks,
      variables,
      showStatusBar(this.pools, sessions, this.focus, runs, hangs),
      server.onEvent((event) => {
        this.pools.apply(event);
        if (runs.past) {
          return; // nobody is notified of what happened hours ago
        }
        const failure = failures.apply(event);
        if (failure !== undefined) {
          void tellFailure(failure);
        } else if (!isLookedAt()) {
          const end = ended(event, runs.get(event.run ?? ''), notifyAfter());
          if (end) {
            void tellEnd(end);
          }
        }
        tellAlarm(event);
      }),
      sessions.listen({
        changed: () => {
          this.pools.refresh();
        },
        present: () => {
          standing(runs).forEach(tellAlarm);
        },
      }),
      server.onState((state) => {
        if (state === 'running') {
          this.pools.refresh();
        } else {
          this.pools.clear();
        }
      }),
      this.pools.onChange(() => {
        this.setContext();
      }),
      this.focus.onChange(() => {
        this.setContext();
      }),
      command('dip.menu', () => menu.show()),
      command('dip.showStacks', (given?: { uri?: string }) => this.showStacks(undefined, given?.uri)),
      command('dip.ranks.interrupt', ({ rank }: RankNode) =>
        this.interrupt(rank === undefined ? undefined : ranks.process(rank)?.work?.run),
      ),
      command('dip.ranks.free', () => this.free()),
      command('dip.ranks.showOutput', ({ rank }: RankNode) => vscode.commands.executeCommand('dip.showChannel', rank)),
      command('dip.ranks.showStack', ({ rank }: RankNode) => this.showStacks(rank)),
      command('dip.variables.refresh', () => {
        variables.refresh();
      }),
      command('dip.variables.filter', () => {
        variables.chooseFilter();
      }),
      command('dip.variables.clearFilter', () => {
        variables.setFilter('');
      }),
      command('dip.variables.compare', (node: VariableNode) => variables.compare(node)),
      command('dip.variables.push', (node: VariableNode, nodes?: VariableNode[]) => variables.push(nodes ?? [node])),
      command('dip.variables.pull', (node: VariableNode, nodes?: VariableNode[]) => variables.pull(nodes ?? [node])),
    );
    void vscode.commands.executeCommand('setContext', 'dip.active', true);
  }

  /** The argument of commands that says which folder the user looks at. */
  get where(): { uri?: string } {
    return this.focus.where;
  }

  dispose(): void {
    this.subscription.dispose();
  }

  private async interrupt(run: string | undefined): Promise<void> {
    if (run !== undefined) {
      await this.server.execute('dip.interrupt', { run });
    }
  }

  /** Frees the waiting ranks of the folder that the user looks at. */
  private async free(): Promise<void> {
    const hung = new Set(this.hangs(this.workspace).flatMap(({ run }) => run ?? []));
    for (const run of hung) {
      await this.server.execute('dip.free', { run });
    }
  }

  private get workspace(): WorkspaceStatus | undefined {
    return workspaceOf(this.pools.workspaces, this.focus.folder);
  }

  /** What the ranks of a workspace wait for. */
  private hangs(workspace: WorkspaceStatus | undefined): HangEvent[] {
    return hangsOf(workspace, (run) => this.runs.get(run)?.hangs.values() ?? []);
  }

  /** Notifies of ranks that wait and may not go on by themselves, and offers what can be done. */
  private async tellHang({ text, run = '' }: HangEvent): Promise<void> {
    if (!vscode.workspace.getConfiguration('dip').get<boolean>('hang.notify', true)) {
      return;
    }
    const free = 'Free ranks';
    const show = 'Show stacks';
    const chosen = await showMessage('warning', `hang? ${text}`, free, show);
    if (chosen === free) {
      await vscode.commands.executeCommand('dip.free', { run });
    } else if (chosen === show) {
      await vscode.commands.executeCommand('dip.showStacks', this.whereOf(run));
    }
  }

  /** The document of a run. */
  private whereOf(run: string): { uri?: string } {
    const file = this.runs.get(run)?.event.path;
    return file === undefined ? this.focus.where : { uri: vscode.Uri.file(file).toString() };
  }

  /** Shows where processes are: one, by its rank or `LOCAL`, or all of them, folded. */
  private async showStacks(rank?: number, uri?: string): Promise<void> {
    const { stacks, folded } = await this.server.execute('dip.stack', {
      ...(rank === undefined ? { native: true } : { rank }),
      ...(uri === undefined ? this.focus.where : { uri }),
    });
    if (rank === undefined) {
      const known = this.hangs(this.workspace).map((hang) => `${hang.text}\n`);
      await this.stacks.show('all', [...known, folded].join('\n'), stacks);
      return;
    }
    const hostOf = hostsOfPool(this.workspace);
    const text = stacks.map((stack) => `# ${processName(stack.rank, hostOf)}\n\n${stack.text ?? stack.error ?? ''}`);
    await this.stacks.show(processName(rank, hostOf), text.join('\n\n'), stacks);
  }

  /** The commands that menus and the text of empty views use. */
  private setContext(): void {
    const { workspace } = this;
    const state = workspace?.pool.state ?? 'none';
    void vscode.commands.executeCommand('setContext', 'dip.poolState', hasPool(workspace) ? 'ready' : state);
    void vscode.commands.executeCommand('setContext', 'dip.running', (workspace?.runs.length ?? 0) > 0);
    void vscode.commands.executeCommand('setContext', 'dip.hung', this.hangs(workspace).length > 0);
  }
}

/** The hangs that stand at the moment. */
function standing(runs: Runs): HangEvent[] {
  return runs.list.flatMap((run) => [...run.hangs.values()]);
}

/** Whether the user looks at the window, as far as can be known: it has the focus, and something was pressed or clicked not long ago. */
function isLookedAt(): boolean {
  const { focused, active } = vscode.window.state;
  return focused && active;
}

function notifyAfter(): number {
  return vscode.workspace.getConfiguration('dip').get<number>('notifyAfter', 60);
}

async function tellEnd({ text, good, run }: Ended): Promise<void> {
  const show = 'Show output';
  if ((await showMessage(good ? 'information' : 'error', text, show)) === show) {
    await vscode.commands.executeCommand('dip.showOutput', { run });
  }
}

async function tellFailure(text: string): Promise<void> {
  const show = 'Show output';
  if ((await showMessage('error', text, show)) === show) {
    await vscode.commands.executeCommand('dip.showChannel');
  }
}

/** Registers a command whose errors are shown to the user. */
function command(name: string, act: (...args: never[]) => unknown): vscode.Disposable {
  return vscode.commands.registerCommand(name, async (...args: never[]) => {
    try {
      await act(...args);
    } catch (error) {
      void showMessage('error', problem(error));
    }
  });
}
