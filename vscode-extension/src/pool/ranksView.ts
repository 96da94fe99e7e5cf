/** The Ranks view: the local namespace and each rank, with what it does. */
import * as vscode from 'vscode';
import type { HangEvent, WorkspaceStatus } from '../generated/server';
import type { Focus } from './focus';
import type { Pools } from './pools';
import { LOCAL } from '../ranks';
import {
  type Detail,
  type Host,
  type Process,
  hosts,
  processDetails,
  poolMessage,
  processIcon,
  processName,
  processText,
  processes,
  workspaceOf,
} from './rows';

/** How often the processes' memory is asked for while the view is visible, in milliseconds. */
const memoryEvery = 5000;

/** A host by its name, a process, identified by its rank, or a line about one. */
export type Node =
  | { host: string; rank?: undefined; detail?: undefined }
  | { rank: number; detail?: undefined }
  | { rank: number; detail: Detail };

export class RanksView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<Node | undefined>();
  private readonly nodes = new Map<number | string, Node>();
  private readonly view: vscode.TreeView<Node>;
  private readonly subscriptions: { dispose: () => unknown }[];
  private ticking: ReturnType<typeof setInterval> | undefined;
  private polling: ReturnType<typeof setInterval> | undefined;
  private polled = '';
  private shown = '';

  readonly onDidChangeTreeData = this.emitter.event;

  constructor(
    private readonly pools: Pools,
    private readonly focus: Focus,
    /** What the ranks of a workspace wait for. */
    private readonly hangs: (workspace: WorkspaceStatus | undefined) => readonly HangEvent[],
  ) {
    this.view = vscode.window.createTreeView('dip.ranks', { treeDataProvider: this });
    this.subscriptions = [
      this.view,
      this.view.onDidChangeVisibility(() => {
        this.update();
      }),
      vscode.window.onDidChangeWindowState(() => {
        this.update();
      }),
      this.focus.onChange(() => {
        this.update();
      }),
      pools.onChange(() => {
        this.update();
      }),
    ];
    this.update();
  }

  /** The process of a row, as it is now. */
  process(rank: number): Process | undefined {
    return this.processes().find((process) => process.rank === rank);
  }

  getChildren(node?: Node): Node[] {
    if (!node) {
      const all = this.processes();
      const found = hosts(this.workspace, all);
      return found.length > 0
        ? [
            ...all.filter(({ rank }) => rank === LOCAL).map(({ rank }) => this.node(rank)),
            ...found.map(({ name }) => this.host(name)),
          ]
        : all.map(({ rank }) => this.node(rank));
    }
    if (node.rank === undefined) {
      return (this.hostRow(node.host)?.ranks ?? []).map((rank) => this.node(rank));
    }
    const process = node.detail ? undefined : this.process(node.rank);
    return process ? processDetails(process).map((detail) => ({ rank: node.rank, detail })) : [];
  }

  getTreeItem(node: Node): vscode.TreeItem {
    if (node.detail) {
      const item = new vscode.TreeItem(node.detail.label);
      item.description = node.detail.value;
      item.tooltip = node.detail.value;
      item.contextValue = 'detail';
      item.accessibilityInformation = { label: `${node.detail.label}: ${node.detail.spoken ?? node.detail.value}` };
      return item;
    }
    if (node.rank === undefined) {
      return this.hostItem(node.host);
    }
    const item = new vscode.TreeItem(processName(node.rank), vscode.TreeItemCollapsibleState.Collapsed);
    item.id = String(node.rank);
    const process = this.process(node.rank);
    if (!process) {
      return item;
    }
    const { icon, color } = processIcon(process);
    item.iconPath = new vscode.ThemeIcon(icon, color === undefined ? undefined : new vscode.ThemeColor(color));
    item.description = processText(process);
    item.tooltip = new vscode.MarkdownString().appendText(processName(process.rank)).appendCodeblock(
      processDetails(process)
        .map(({ label, value }) => `${label.padEnd(10)}  ${value}`)
        .join('\n'),
      'text',
    );
    item.contextValue = `process ${process.state}${process.work ? ' running' : ''}${process.hang ? ' hung' : ''}`;
    item.accessibilityInformation = {
      label: `${processName(process.rank)}, ${processText(process).replaceAll(' · ', ', ')}`,
    };
    return item;
  }

  getParent(node: Node): Node | undefined {
    if (node.detail) {
      return this.node(node.rank);
    }
    const host =
      node.rank === undefined
        ? undefined
        : hosts(this.workspace, this.processes()).find(({ ranks }) => ranks.includes(node.rank));
    return host && this.host(host.name);
  }

  dispose(): void {
    this.stopPolling();
    clearInterval(this.ticking);
    vscode.Disposable.from(...this.subscriptions).dispose();
    this.emitter.dispose();
  }

  private get workspace(): WorkspaceStatus | undefined {
    return workspaceOf(this.pools.workspaces, this.focus.folder);
  }

  private processes(): Process[] {
    const { workspace } = this;
    return processes(workspace, (process) => this.pools.memory(process), this.pools.age, this.hangs(workspace));
  }

  private hostRow(name: string): Host | undefined {
    return hosts(this.workspace, this.processes()).find((host) => host.name === name);
  }

  private hostItem(name: string): vscode.TreeItem {
    const item = new vscode.TreeItem(name, vscode.TreeItemCollapsibleState.Expanded);
    item.id = `host ${name}`;
    item.contextValue = 'host';
    const host = this.hostRow(name);
    if (host) {
      const { icon, color, text, tooltip } = host;
      item.iconPath = new vscode.ThemeIcon(icon, color === undefined ? undefined : new vscode.ThemeColor(color));
      item.description = text;
      item.tooltip = tooltip;
    }
    return item;
  }

  private host(name: string): Node {
    const node = this.nodes.get(name) ?? { host: name };
    this.nodes.set(name, node);
    return node;
  }

  private node(rank: number): Node {
    const node = this.nodes.get(rank) ?? { rank };
    this.nodes.set(rank, node);
    return node;
  }

  /** Shows what has changed, and keeps asking while the view is visible. */
  private update(): void {
    const all = this.processes();
    const looking = this.view.visible && vscode.window.state.focused;
    const alive = all.filter(({ state }) => state !== 'dead' && state !== 'stopped').map(({ pid }) => pid);
    if (looking && alive.length > 0) {
      this.poll(alive.join());
    } else {
      this.stopPolling();
    }
    const running = this.view.visible && all.some(({ work }) => work !== undefined);
    if (running && !this.ticking) {
      this.ticking = setInterval(() => {
        this.show(this.processes());
      }, 1000);
    } else if (!running) {
      clearInterval(this.ticking);
      this.ticking = undefined;
    }
    if (this.view.visible) {
      this.show(all);
    }
  }

  /** Redraws the rows if their texts have changed. */
  private show(all: readonly Process[]): void {
    const pool = this.workspace?.pool;
    const message = pool ? poolMessage(pool) : '';
    if (message !== (this.view.message ?? '')) {
      this.view.message = message;
    }
    const rows = JSON.stringify([
      all.map((process) => [processName(process.rank), processDetails(process)]),
      hosts(this.workspace, all),
    ]);
    if (rows !== this.shown) {
      this.shown = rows;
      this.emitter.fire(undefined);
    }
  }

  /** Asks for the memory of these processes now and from time to time, unless it does already. */
  private poll(pids: string): void {
    if (pids !== this.polled) {
      this.stopPolling();
      this.polled = pids;
      void this.pools.refreshMemory();
      this.polling = setInterval(() => void this.pools.refreshMemory(), memoryEvery);
    }
  }

  private stopPolling(): void {
    clearInterval(this.polling);
    this.polling = undefined;
    this.polled = '';
  }
}
