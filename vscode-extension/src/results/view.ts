/** The view "Dip Results": the extension's side of it. */
import * as os from 'node:os';
import * as path from 'node:path';
import * as vscode from 'vscode';
import { problem } from '../arguments';
import { cellAt } from '../cells/places';
import { showMessage } from '../messages';
import { hostsOf, whose } from '../ranks';
import type { Run, Runs } from '../runs';
import { isOurs, type Server } from '../server';
import type { Entry } from '../timeline';
import { Deltas, titleOf } from './deltas';
import { openEnlarged } from './enlarged';
import {
  type EntryAction,
  type FromView,
  fromView,
  type RunAction,
  runActions,
  type RunKey,
  type ToView,
  type ViewCommand,
  viewCommands,
} from './messages';
import { bundleOf, page } from './page';
import { type Reveal, reveals } from './reveal';
import { saveOutput } from './save';

const viewId = 'dip.results';

/** How many ways to go on with typed code are shown. */
const maxMatches = 200;

/** How long changes are collected before the view is told, in milliseconds. */
const gather = 30;

/** Shows the output of runs. VS Code makes the page anew whenever it becomes visible; its content comes from the model of runs. */
export class ResultsView implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  private readonly deltas: Deltas;
  private readonly disposables: vscode.Disposable[] = [];
  private timer: NodeJS.Timeout | undefined;
  private wanted: RunKey | undefined; // the run to bring into view once the page is there
  private ready = false; // the view is there and waits for what has changed
  private readonly revealed = new WeakSet<Run>();

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly server: Server,
    private readonly runs: Runs,
    /** Whether a run's output is shown elsewhere: then nobody needs to be shown this view. */
    private readonly elsewhere: (run: Run) => boolean,
  ) {
    this.deltas = new Deltas(runs, () => {
      this.schedule();
    });
    const stop = runs.listen({
      spliced: (run, _index, _removed, added) => {
        this.reveal(run, added);
      },
    });
    const does = (command: ViewCommand) => async () => {
      await vscode.commands.executeCommand(`${viewId}.focus`);
      this.send({ type: 'do', command });
    };
    this.disposables.push(
      new vscode.Disposable(() => {
        stop();
        this.deltas.dispose();
      }),
      vscode.window.registerWebviewViewProvider(viewId, this),
      vscode.workspace.onDidChangeConfiguration((change) => {
        if (this.view && change.affectsConfiguration('dip.results.network')) {
          this.ready = false;
          this.load(this.view.webview);
        }
      }),
      vscode.commands.registerCommand('dip.goToOutput', (of?: unknown) => this.goToOutput(of)),
      vscode.commands.registerCommand('dip.results.clear', () => {
        runs.clear();
      }),
      ...viewCommands.map((command) => vscode.commands.registerCommand(`${viewId}.${command}`, does(command))),
      ...runActions.map((action) =>
        vscode.commands.registerCommand(`${viewId}.${action}`, (place?: { key?: RunKey }) =>
          this.act(action, place?.key),
        ),
      ),
    );
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    const { webview } = view;
    webview.options = { enableScripts: true, localResourceRoots: [bundleOf(this.context)] };
    this.view = view;
    webview.onDidReceiveMessage((message: unknown) => {
      const known = fromView(message);
      return known && this.take(known);
    });
    view.onDidDispose(() => {
      this.view = undefined;
      this.ready = false;
    });
    view.onDidChangeVisibility(() => {
      this.ready = false; // the page is gone; a new one will say when it is ready
    });
    this.load(webview);
  }

  private load(webview: vscode.Webview): void {
    webview.html = page(webview, bundleOf(this.context), 'results', 'Dip Results');
  }

  dispose(): void {
    clearTimeout(this.timer);
    vscode.Disposable.from(...this.disposables).dispose();
  }

  private async take(message: FromView): Promise<void> {
    switch (message.type) {
      case 'ready':
        this.send({ type: 'update', reset: true, runs: this.deltas.takeAll() });
        if (this.wanted !== undefined) {
          this.send({ type: 'goTo', key: this.wanted });
          this.wanted = undefined;
        }
        break;
      case 'taken':
        this.ready = true;
        this.schedule();
        break;
      case 'open':
        await this.open(message.path, message.line);
        break;
      case 'copy':
        await vscode.env.clipboard.writeText(message.text);
        break;
      case 'run':
        await this.run(message.code, message.target);
        break;
      case 'complete':
        await this.complete(message.id, message.code, message.target);
        break;
      case 'network':
        await vscode.commands.executeCommand('workbench.action.openSettings', 'dip.results.network');
        break;
      case 'enlarge':
      case 'save':
        await this.actOn(message.type, message.key, message.entry);
        break;
      default:
        await this.act(message.type, message.key);
    }
  }

  private send(message: ToView): void {
    void this.view?.webview.postMessage(message);
  }

  /** Tells the view what has changed: after a short delay, and not before it has taken the last message. */
  private schedule(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      if (!this.view?.visible) {
        this.runs.settle();
        this.deltas.drop(); // a new page gets everything
      } else if (this.ready) {
        const runs = this.deltas.take();
        if (runs.length > 0) {
          this.ready = false;
          this.send({ type: 'update', runs });
        }
      }
    }, gather);
  }

  /** Opens the view, without the focus, at a run's first output that calls for it, unless that is long past. */
  private reveal(run: Run, added: readonly Entry[]): void {
    if (this.runs.past || this.elsewhere(run)) {
      this.revealed.add(run);
    }
    if (this.revealed.has(run) || this.view?.visible) {
      return;
    }
    const setting = vscode.workspace.getConfiguration('dip').get<Reveal>('results.reveal', 'onOutput');
    const worth = added.some(
      (entry) =>
        reveals(setting, entry.output) &&
        (entry.output.kind === 'failure' || entry.ranks.some((rank) => run.shows(rank))),
    );
    if (worth) {
      this.revealed.add(run);
      void vscode.commands.executeCommand(`${viewId}.focus`, { preserveFocus: true });
    }
  }

  /** Does something with a run, by default the last one; to go to its cell, by default the one in view. */
  private async act(action: RunAction, key: RunKey | undefined): Promise<void> {
    if (action === 'goToCell' && key === undefined && this.ready) {
      this.send({ type: 'whichCell' });
      return;
    }
    const run = key === undefined ? this.runs.list.findLast((run) => run.id !== '') : this.deltas.run(key);
    if (!run?.id) {
      return;
    }
    switch (action) {
      case 'goToCell':
        await this.goToCell(run);
        break;
      case 'showOutput':
        await vscode.commands.executeCommand('dip.showOutput', { run: run.id });
        break;
      case 'interrupt':
        await vscode.commands.executeCommand('dip.interrupt', { run: run.id });
    }
  }

  /** Runs what was typed. */
  private async run(code: string, target: string): Promise<void> {
    try {
      await this.server.execute('dip.runCode', { code, ...(target !== '' && { target }), ...where() });
    } catch (error) {
      void showMessage('error', problem(error));
    }
  }

  /** Tells the view how code may go on; nothing where nobody can say. */
  private async complete(id: number, code: string, target: string): Promise<void> {
    const found = await this.server
      .execute('dip.complete', { code, ...(target !== '' && { target }), ...where() })
      .catch(() => undefined);
    if (found) {
      this.send({ type: 'completions', id, replaces: found.replaces, matches: found.matches.slice(0, maxMatches) });
    }
  }

  /** Does something with rich output of a run. */
  private async actOn(action: EntryAction, key: RunKey, id: number): Promise<void> {
    const run = this.deltas.run(key);
    const entry = run?.timeline.entries.find((entry) => entry.id === id);
    if (!run || entry?.output.kind !== 'rich') {
      return;
    }
    if (action === 'save') {
      await saveOutput(entry.output);
      return;
    }
    const ranks = whose(entry.ranks, hostsOf([...run.parts.values()]));
    openEnlarged(this.context, entry.output, ranks, `${titleOf(run)} · ${ranks}`);
  }

  /** Brings a run into view in the results: that of a lens, or the last one of the cell at a line or at the cursor. */
  private async goToOutput(of: unknown): Promise<void> {
    const id = runIn(of) ?? (await this.runAt(of));
    const run = this.runs.list.find((run) => run.id === id);
    if (!run) {
      await (id === undefined
        ? vscode.window.setStatusBarMessage('Dip: this cell has not run', 4000)
        : vscode.commands.executeCommand('dip.showOutput', { run: id })); // the view has forgotten it; its journal is there
      return;
    }
    const key = this.deltas.key(run);
    if (!this.view?.visible) {
      this.wanted = key; // the page asks for everything first
    }
    await vscode.commands.executeCommand(`${viewId}.focus`);
    if (this.wanted === undefined) {
      this.send({ type: 'goTo', key });
    }
  }

  /** The last run of the cell at a line of a gutter, or at the cursor. */
  private async runAt(place: unknown): Promise<string | undefined> {
    const editor = vscode.window.activeTextEditor;
    if (!editor || !isOurs(editor.document)) {
      return undefined;
    }
    const line = lineIn(place) ?? editor.selection.active.line;
    const { cells } = await this.server.cells(editor.document, new vscode.Range(line, 0, line, 0));
    return cellAt(cells, line)?.run;
  }

  /** Shows the cell of a run at its present place, which may have changed since it ran. */
  private async goToCell(run: Run): Promise<void> {
    const { path: file, line } = run.event;
    if (file === undefined) {
      return;
    }
    // A document without a file is known by its URI.
    const known = vscode.workspace.textDocuments.find(({ uri }) => uri.fsPath === file || uri.toString() === file);
    const document = known ?? (await this.document(file));
    if (!document) {
      return;
    }
    const { cells } = await this.server.cells(document).catch(() => ({ cells: [] }));
    const now = cells.find((cell) => cell.run === run.id)?.range.start.line;
    await show(document, now ?? (line ?? 1) - 1);
  }

  /** Opens a place that output names, if it is in a file. */
  private async open(name: string, line: number): Promise<void> {
    const home = name.startsWith('~/') ? path.join(os.homedir(), name.slice(2)) : name;
    const folders = vscode.workspace.workspaceFolders ?? [];
    const candidates = path.isAbsolute(home) ? [home] : folders.map((folder) => path.join(folder.uri.fsPath, home));
    for (const candidate of candidates) {
      const document = await this.document(candidate);
      if (document) {
        await show(document, line - 1);
        return;
      }
    }
    void vscode.window.setStatusBarMessage(`${name} is no file that can be opened`, 5000);
  }

  /** The document of a path, if that is a text file. */
  private async document(file: string): Promise<vscode.TextDocument | undefined> {
    const uri = vscode.Uri.file(file);
    try {
      const { type } = await vscode.workspace.fs.stat(uri);
      return (type & vscode.FileType.File) === 0 ? undefined : await vscode.workspace.openTextDocument(uri);
    } catch {
      return undefined;
    }
  }
}

/** Which folder's session is meant: that of the file that the user looked at last. */
function where(): { uri?: string } {
  const document = vscode.window.activeTextEditor?.document;
  return document && isOurs(document) ? { uri: document.uri.toString() } : {};
}

/** The run that a lens names. */
function runIn(given: unknown): string | undefined {
  const { run } = (typeof given === 'object' && given !== null ? given : {}) as { run?: unknown };
  return typeof run === 'string' ? run : undefined;
}

/** The line that the menu of a gutter names, from 0. */
function lineIn(given: unknown): number | undefined {
  const { lineNumber } = (typeof given === 'object' && given !== null ? given : {}) as { lineNumber?: unknown };
  return typeof lineNumber === 'number' ? lineNumber - 1 : undefined;
}

async function show(document: vscode.TextDocument, line: number): Promise<void> {
  const at = new vscode.Position(Math.min(Math.max(0, line), document.lineCount - 1), 0);
  await vscode.window.showTextDocument(document, { selection: new vscode.Range(at, at) });
}
