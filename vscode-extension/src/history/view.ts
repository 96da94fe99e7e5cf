/** The History view: what has run, in sessions that live and in earlier ones. */
import * as vscode from 'vscode';
import { problem } from '../arguments';
import type { PastRun, RunsArgs } from '../generated/server';
import { showMessage } from '../messages';
import type { Runs } from '../runs';
import { isOurs, type Server } from '../server';
import {
  type DayNode,
  cellOf,
  type FileNode,
  fileLabel,
  fileText,
  filterText,
  group,
  runDetails,
  runLabel,
  runText,
} from './model';

const viewId = 'dip.history';
const scheme = 'dip-run';

/** How many runs are listed: the latest. */
const most = 500;

/** How long after a run's end the list is read, in milliseconds: runs without output get into it a second later. */
const settle = 1500;

type Node = DayNode | FileNode | PastRun;

export class HistoryView
  implements vscode.TreeDataProvider<Node>, vscode.TextDocumentContentProvider, vscode.Disposable
{
  private readonly emitter = new vscode.EventEmitter<undefined>();
  private readonly view: vscode.TreeView<Node>;
  private readonly subscription: vscode.Disposable;
  private readonly codes = new Map<string, string>();
  private known: PastRun[] | undefined;
  private filter: RunsArgs = {};
  private timer: ReturnType<typeof setTimeout> | undefined;

  readonly onDidChangeTreeData = this.emitter.event;

  constructor(
    private readonly server: Server,
    private readonly runs: Runs,
  ) {
    this.view = vscode.window.createTreeView(viewId, { treeDataProvider: this });
    const command = (name: string, act: (run: PastRun) => unknown) =>
      vscode.commands.registerCommand(`${viewId}.${name}`, async (run: PastRun) => {
        try {
          await act(run);
        } catch (error) {
          void showMessage('error', problem(error));
        }
      });
    this.subscription = vscode.Disposable.from(
      this.view,
      this.emitter,
      vscode.workspace.registerTextDocumentContentProvider(scheme, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => {
        this.codes.delete(uri.toString());
      }),
      this.view.onDidChangeVisibility(({ visible }) => {
        if (visible) {
          this.forget();
        }
      }),
      server.onEvent(({ event }) => {
        if (event === 'run_finished' && this.view.visible) {
          this.timer ??= setTimeout(() => {
            this.timer = undefined;
            this.forget();
          }, settle);
        }
      }),
      server.onGone(() => {
        this.emitter.fire(undefined); // marks change
      }),
      command('refresh', () => {
        this.forget();
      }),
      command('filter', () => this.choose()),
      command('open', (run) => this.open(run)),
      command('showCode', (run) => this.showCode(run)),
      command('runAgain', (run) => this.runAgain(run)),
    );
  }

  async getChildren(node?: Node): Promise<Node[]> {
    if (!node) {
      this.known ??= (await this.server.execute('dip.runs', { limit: most, ...this.filter })).runs;
      this.view.message = this.known.length === 0 && filterText(this.filter) !== '' ? 'No run is like that.' : '';
      return group(this.known, new Date());
    }
    if ('kind' in node) {
      return node.kind === 'day' ? [...node.files] : [...node.runs];
    }
    return [];
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const { Collapsed, Expanded, None } = vscode.TreeItemCollapsibleState;
    if ('kind' in node) {
      const isDay = node.kind === 'day';
      const label = isDay ? node.label : fileLabel(node);
      const item = new vscode.TreeItem(label, isDay && node.label !== 'Today' ? Collapsed : Expanded);
      item.id = isDay ? node.day : `${node.day} ${node.path}`;
      item.contextValue = node.kind;
      if (!isDay) {
        item.description = fileText(node);
        item.tooltip = node.path;
        item.iconPath = vscode.ThemeIcon.File;
      }
      return item;
    }
    const item = new vscode.TreeItem(runLabel(node), None);
    item.id = node.run;
    const known = this.runs.get(node.run);
    const there = known !== undefined && known.gone === undefined;
    item.description = runText(node, there);
    item.tooltip = runDetails(node, there).join('\n');
    item.contextValue = node.path === undefined ? 'run' : 'run file';
    item.iconPath = node.status === 'ok' && !there ? past : icons[node.status];
    item.command = { command: `${viewId}.open`, title: 'Open in results', arguments: [node] };
    item.accessibilityInformation = { label: runDetails(node, there).join(', ').replaceAll(' · ', ', ') };
    return item;
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.codes.get(uri.toString()) ?? '';
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.subscription.dispose();
  }

  private forget(): void {
    this.known = undefined;
    this.emitter.fire(undefined);
  }

  /** Asks which runs are to be listed. */
  private async choose(): Promise<void> {
    const active = vscode.window.activeTextEditor;
    const today = new Date();
    today.setHours(0, 0, 0, 0);
    const ways: (vscode.QuickPickItem & { filter?: RunsArgs; cell?: true })[] = [
      { label: 'All runs', filter: {} },
      {
        label: 'Runs that were not ok',
        filter: { ...this.filter, status: ['error', 'died', 'killed', 'interrupted'] },
      },
      { label: 'Runs of today', filter: { ...this.filter, since: today.toISOString() } },
      ...(active && isOurs(active.document)
        ? [
            {
              label: `Runs of ${fileLabel(active.document.uri)}`,
              filter: { ...this.filter, path: active.document.uri.fsPath },
            },
          ]
        : []),
      { label: 'Runs of a cell …', cell: true },
    ];
    const chosen = await vscode.window.showQuickPick(ways, {
      title: 'Filter history',
      placeHolder: filterText(this.filter) || 'Which runs? A choice narrows the list further.',
    });
    if (!chosen) {
      return;
    }
    const cell = chosen.cell
      ? await vscode.window.showInputBox({
          title: 'Filter history',
          prompt: "The cell's number, or a part of its title",
        })
      : undefined;
    if (chosen.cell && !cell) {
      return;
    }
    this.filter = chosen.filter ?? { ...this.filter, ...(cell && { cell }) };
    this.view.description = filterText(this.filter);
    this.forget();
  }

  /** Shows what a run has put out in the results, also one of an earlier session. */
  private async open({ run }: PastRun): Promise<void> {
    if (!this.runs.get(run)) {
      const { run: past, events, more, gone } = await this.server.execute('dip.recall', { run });
      if (past.journal === undefined) {
        vscode.window.setStatusBarMessage(`Dip: ${runLabel(past)} has put nothing out`, 4000);
        return;
      }
      if (past.status === 'running') {
        await vscode.commands.executeCommand('dip.showOutput', { run }); // elsewhere: nobody will tell here how it goes on
        return;
      }
      this.runs.recall(events);
      this.runs.lose(gone === undefined ? [] : [{ run, gone }]);
      if (more) {
        await vscode.commands.executeCommand('dip.showOutput', { run });
        return;
      }
    }
    await vscode.commands.executeCommand('dip.goToOutput', { run });
  }

  /** Shows the code that ran, as a document that cannot be edited. */
  private async showCode({ run }: PastRun): Promise<void> {
    const { run: past } = await this.server.execute('dip.recall', { run });
    if (past.code === undefined) {
      throw new Error(`the code of run ${run} was not kept`);
    }
    const uri = vscode.Uri.from({ scheme, path: `/${runLabel(past).replaceAll('/', ' ')} (${run}).py` });
    this.codes.set(uri.toString(), past.code);
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: true });
  }

  /** Runs the cell of a run again, as it is now. */
  private async runAgain(run: PastRun): Promise<void> {
    const uri = vscode.Uri.file(run.path ?? '');
    const document = await vscode.workspace.openTextDocument(uri);
    const { cells } = await this.server.cells(document);
    const cell = cellOf(cells, run);
    if (!cell) {
      throw new Error(`${fileLabel(uri)} has no ${runLabel(run)} any more; "Show code" shows what ran`);
    }
    const editor = await vscode.window.showTextDocument(document);
    const { line } = cell.range.start;
    editor.revealRange(new vscode.Range(line, 0, line, 0), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
    await vscode.commands.executeCommand('dip.runCell', { uri: uri.toString(), cell: cell.number });
  }
}

const icon = (name: string, colour: string): vscode.ThemeIcon =>
  new vscode.ThemeIcon(name, new vscode.ThemeColor(colour));

/** Of a run that was ok, but whose state is gone, or may be. */
const past = new vscode.ThemeIcon('circle-large-outline');

const icons: Record<PastRun['status'], vscode.ThemeIcon> = {
  ok: icon('pass', 'testing.iconPassed'),
  error: icon('error', 'testing.iconFailed'),
  died: icon('error', 'testing.iconFailed'),
  killed: icon('error', 'testing.iconFailed'),
  interrupted: icon('debug-stop', 'testing.iconSkipped'),
  running: new vscode.ThemeIcon('play'),
};
