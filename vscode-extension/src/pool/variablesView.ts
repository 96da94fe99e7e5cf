/** The Variables view: what the local namespace and the ranks hold, folded where they agree. */
import * as vscode from 'vscode';
import { type HostOf, LOCAL } from '../ranks';
import type { Server } from '../server';
import { Comparisons } from './comparisons';
import type { Focus } from './focus';
import type { Pools } from './pools';
import { hasPool, hostsOfPool, processes, workspaceOf } from './rows';
import * as model from './variables';
import { escaped } from './words';

/** How long after the last event the namespaces are asked, in milliseconds: once after a series of short cells. */
const settle = 300;

/** A variable or a member of one, or one of its values where processes hold different ones. */
export interface Node {
  /** How code names it: `model.fc`, `batch['x'][0]`. */
  path: string;
  row: model.Row;
  value?: model.Value;
}

export class VariablesView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly emitter = new vscode.EventEmitter<void>();
  private readonly comparisons = new Comparisons();
  private readonly view: vscode.TreeView<Node>;
  private readonly subscriptions: { dispose: () => unknown }[];
  private known = model.none;
  private filter = '';
  /** What was last known of opened nodes, by their ids: a busy process does not answer. */
  private readonly opened = new Map<string, Node[]>();
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
      this.comparisons,
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

  async getChildren(node?: Node): Promise<Node[]> {
    if (!node) {
      return model.filtered(this.known.rows, this.filter).map((row) => ({ path: row.name, row }));
    }
    if (!node.value && node.row.values.length > 1) {
      return node.row.values.map((value) => ({ ...node, value }));
    }
    return this.members(node);
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const { path, row, value } = node;
    const { hostOf, size } = this;
    const [first] = row.values;
    const one = value ?? (row.values.length === 1 ? first : undefined);
    const name = value ? model.where(value, size, hostOf) : row.name;
    const opens = !one || one.object.members === true;
    const item = new vscode.TreeItem(
      name,
      opens ? vscode.TreeItemCollapsibleState.Collapsed : vscode.TreeItemCollapsibleState.None,
    );
    item.id = idOf(node);
    const description = value ? model.valueText(value, false) : model.rowText(row, size, hostOf);
    item.description = description;
    if (first) {
      item.iconPath = new vscode.ThemeIcon(value ? 'circle-small' : one ? model.kindIcon(first.object) : 'diff');
    }
    item.tooltip = one ? tooltip(path, one, hostOf) : `${path}: ${row.values.length} different values`;
    item.contextValue = [
      'variable',
      ...(this.canPush(node) ? ['push'] : []),
      ...(this.pullRank(node) === undefined ? [] : ['pull']),
      ...(value ? [] : ['compare']),
      ...(row.values.some((held) => model.isTable(held.object)) ? ['table'] : []),
    ].join(' ');
    item.accessibilityInformation = {
      label: `${name}, ${description.replaceAll('≠ ', 'differs: ').replaceAll(' · ', ', ')}`,
    };
    return item;
  }

  /** Lets the user type what names and types have to contain. */
  chooseFilter(): void {
    const before = this.filter;
    const box = vscode.window.createInputBox();
    box.title = 'Filter variables';
    box.placeholder = 'Words in names or types, such as: loss tensor';
    box.value = before;
    let accepted = false;
    box.onDidChangeValue((text) => {
      this.setFilter(text);
    });
    box.onDidAccept(() => {
      accepted = true;
      box.hide();
    });
    box.onDidHide(() => {
      if (!accepted) {
        this.setFilter(before);
      }
      box.dispose();
    });
    box.show();
  }

  setFilter(text: string): void {
    this.filter = text;
    this.view.description = text.trim() === '' ? '' : `filter: ${text.trim()}`;
    void vscode.commands.executeCommand('setContext', 'dip.variablesFiltered', text.trim() !== '');
    this.emitter.fire();
  }

  /** Shows the values of a variable side by side, with what tells its arrays apart. */
  async compare({ path, row }: Node): Promise<void> {
    const ask = (digest: boolean): Promise<readonly model.Row[]> =>
      this.server.execute('dip.variables', { of: path, digest, ...this.focus.where }).then(model.membersOf);
    const arrays = row.values.some(({ object }) => object.shape !== undefined);
    const members = row.values.some(({ object }) => object.members === true);
    const digests = arrays ? ((await ask(true))[0]?.values ?? []) : [];
    const text = model.comparison(path, row, digests, members ? await ask(false) : [], this.hostOf);
    await this.comparisons.show(path, text);
  }

  /** Copies the local namespace's values to all ranks. */
  async push(nodes: readonly Node[]): Promise<void> {
    const names = [...new Set(nodes.filter((node) => this.canPush(node)).map(({ row }) => row.name))];
    if (names.length > 0) {
      await this.server.execute('dip.push', { names, ...this.focus.where });
    }
  }

  /** Copies the ranks' values to the local namespace: a value from a rank that has it. */
  async pull(nodes: readonly Node[]): Promise<void> {
    const byRank = new Map<number, string[]>();
    for (const node of nodes) {
      const rank = this.pullRank(node);
      if (rank !== undefined) {
        byRank.set(rank, [...(byRank.get(rank) ?? []), node.row.name]);
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

  private get size(): number {
    return this.workspace?.pool.size ?? 0;
  }

  private canPush({ path, row, value }: Node): boolean {
    return path === row.name && hasPool(this.workspace) && (value ? value.local : model.canPush(row));
  }

  private pullRank({ path, row, value }: Node): number | undefined {
    const can = path === row.name && hasPool(this.workspace) && !model.isModule(row);
    return can ? model.pullRank(value ? [value] : row.values) : undefined;
  }

  /** What a value consists of. Where processes hold different ones, a process of those that hold this one is asked. */
  private async members(node: Node): Promise<Node[]> {
    const { path, value } = node;
    const rank = value && (value.local ? LOCAL : value.ranks[0]);
    const id = idOf(node);
    const reply = await this.server
      .execute('dip.variables', { of: path, ...(rank !== undefined && { rank }), ...this.focus.where })
      .catch(() => undefined);
    if (!reply || (reply.variables.length === 0 && reply.busy)) {
      return this.opened.get(id) ?? [];
    }
    const found = model.membersOf(reply).map((row) => ({ path: path + row.name, row }));
    this.opened.set(id, found);
    return found;
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
    if (this.folder !== folder) {
      this.opened.clear();
    }
    this.folder = folder;
    this.view.message = [
      ...(this.known.busy === '' ? [] : [`Busy: ${this.known.busy}. Shown as before the run.`]),
      ...(this.known.more === 0 ? [] : [`${this.known.more} more are not shown.`]),
    ].join(' ');
    this.emitter.fire();
  }
}

/** A node's identity, by which it stays open. */
function idOf({ path, value }: Node): string {
  return value ? `${path} ${model.holders(value)}` : path;
}

function tooltip(name: string, value: model.Value, hostOf: HostOf): vscode.MarkdownString {
  const text = new vscode.MarkdownString(`**${escaped(name)}**`);
  for (const line of model.valueDetails(value, hostOf)) {
    text.appendMarkdown('\n\n').appendText(line);
  }
  return value.object.text === '' ? text : text.appendCodeblock(value.object.text, 'python');
}
