/** The Variables view: what the local namespace and the ranks hold, folded where they agree. */
import * as vscode from 'vscode';
import type { HostOf } from '../ranks';
import type { Server } from '../server';
import type { Focus } from './focus';
import type { Pools } from './pools';
import { hasPool, hostsOfPool, processes, workspaceOf } from './rows';
import * as model from './variables';
import { escaped } from './words';

/** How long after the last event the namespaces are asked, in milliseconds: once after a series of short cells. */
const settle = 300;

/** A variable, or one of its values where processes hold different ones. */
export interface Node {
  row: model.Row;
  value?: model.Value;
}

export class VariablesView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<void>();
  private readonly view: vscode.TreeView<Node>;
  private readonly subscriptions: { dispose: () => unknown }[];
  private known = model.none;
  /** The pids of the processes that `known` is about, by rank. A process with another pid holds nothing of it. */
  private pids = new Map<number, number>();
  private folder: string | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = 0;
  private stale = true;

  readonly onDidChangeTreeData = this.emitter.event;

  constructor(
    private readonly server: Server,
    private readonly pools: Pools,
    private readonly focus: Focus,
  ) {
    this.view = vscode.window.createTreeView('dip.variables', { treeDataProvider: this, canSelectMany: true });
    this.subscriptions = [
      this.view,
      this.view.onDidChangeVisibility(({ visible }) => {
        if (visible && this.stale) {
          this.refresh();
        }
      }),
      // A run's effect on variables is known when it, or one rank's part of it, has ended. A change of the pools comes with that.
      pools.onChange((what) => {
        if (what === 'status') {
          this.refresh();
        }
      }),
      focus.onChange(() => {
        if (this.focus.folder !== this.folder) {
          this.refresh();
        }
      }),
    ];
  }

  /** Asks the namespaces after a short delay, or, if the view is hidden, once it is visible. */
  refresh(): void {
    this.stale = true;
    if (this.view.visible && !this.timer) {
      this.timer = setTimeout(() => {
        this.timer = undefined;
        void this.update();
      }, settle);
    }
  }

  getChildren(node?: Node): Node[] {
    if (!node) {
      return this.known.rows.map((row) => ({ row }));
    }
    return node.value ? [] : node.row.values.map((value) => ({ row: node.row, value }));
  }

  getTreeItem({ row, value }: Node): vscode.TreeItem {
    const [first] = row.values;
    const one = value ?? (row.values.length === 1 ? first : undefined);
    const { hostOf } = this;
    const name = value ? model.holders(value, hostOf) : row.name;
    const item = new vscode.TreeItem(
      name,
      one ? vscode.TreeItemCollapsibleState.None : vscode.TreeItemCollapsibleState.Collapsed,
    );
    item.id = value ? `${row.name} ${name}` : row.name;
    const description = value ? model.valueText(value, false) : model.rowText(row, hostOf);
    item.description = description;
    if (first) {
      item.iconPath = new vscode.ThemeIcon(value ? 'circle-small' : one ? model.kindIcon(first.object) : 'diff');
    }
    item.tooltip = one ? tooltip(row.name, one, hostOf) : `${row.name}: ${row.values.length} different values`;
    item.contextValue = [
      'variable',
      ...(this.canPush(row, value) ? ['push'] : []),
      ...(this.pullRank(row, value) === undefined ? [] : ['pull']),
    ].join(' ');
    item.accessibilityInformation = { label: `${name}, ${description.replaceAll(' · ', ', ')}` };
    return item;
  }

  /** Copies the local namespace's values to all ranks. */
  async push(nodes: readonly Node[]): Promise<void> {
    const names = [...new Set(nodes.filter(({ row, value }) => this.canPush(row, value)).map(({ row }) => row.name))];
    if (names.length > 0) {
      await this.server.execute('dip.push', { names, ...this.focus.where });
    }
  }

  /** Copies the ranks' values to the local namespace: a value from a rank that has it. */
  async pull(nodes: readonly Node[]): Promise<void> {
    const byRank = new Map<number, string[]>();
    for (const { row, value } of nodes) {
      const rank = this.pullRank(row, value);
      if (rank !== undefined) {
        byRank.set(rank, [...(byRank.get(rank) ?? []), row.name]);
      }
    }
    for (const [rank, names] of byRank) {
      await this.server.execute('dip.pull', { names: [...new Set(names)], rank, ...this.focus.where });
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    vscode.Disposable.from(...this.subscriptions).dispose();
    this.emitter.dispose();
  }

  /** The hosts of the ranks that are shown, where they are on several. */
  private get hostOf(): HostOf {
    return hostsOfPool(workspaceOf(this.pools.workspaces, this.focus.folder));
  }

  private canPush(row: model.Row, value: model.Value | undefined): boolean {
    return hasPool(this.workspace) && (value ? value.local : model.canPush(row));
  }

  private pullRank(row: model.Row, value: model.Value | undefined): number | undefined {
    return hasPool(this.workspace) ? model.pullRank(value ? [value] : row.values) : undefined;
  }

  private get workspace(): ReturnType<typeof workspaceOf> {
    return workspaceOf(this.pools.workspaces, this.focus.folder);
  }

  private async update(): Promise<void> {
    const asked = ++this.asked;
    const pids = new Map(processes(this.workspace, () => undefined, 0).map(({ rank, pid }) => [rank, pid]));
    const before = this.folder === this.focus.folder ? this.known : model.none;
    const folder = this.focus.folder;
    // Asking would start nothing, but where nothing lives there is nothing to ask.
    const reply =
      pids.size === 0
        ? { variables: [] }
        : await this.server.execute('dip.variables', this.focus.where).catch(() => undefined);
    if (!reply || asked !== this.asked) {
      return;
    }
    this.stale = false;
    this.known = model.merge(before, reply, (rank) => this.pids.get(rank) === pids.get(rank));
    this.pids = pids;
    this.folder = folder;
    this.view.message = [
      ...(this.known.busy === '' ? [] : [`Busy: ${this.known.busy}. Shown as before the run.`]),
      ...(this.known.more === 0 ? [] : [`${this.known.more} more are not shown.`]),
    ].join(' ');
    this.emitter.fire();
  }
}

function tooltip(name: string, value: model.Value, hostOf: HostOf): vscode.MarkdownString {
  const text = new vscode.MarkdownString(`**${escaped(name)}**`);
  for (const line of model.valueDetails(value, hostOf)) {
    text.appendMarkdown('\n\n').appendText(line);
  }
  return value.object.text === '' ? text : text.appendCodeblock(value.object.text, 'python');
}
