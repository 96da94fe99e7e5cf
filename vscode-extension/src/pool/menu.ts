/** The menu of the status-bar item: what can be done with the pool. */
import * as vscode from 'vscode';
import type { Server } from '../server';
import { showFile, showJournals } from '../sessions/ask';
import type { Sessions, Tie } from '../sessions/sessions';
import type { Focus } from './focus';
import { badCount, badGpus, type MenuAction, menuItems } from './menuItems';
import type { Pools } from './pools';
import { hasPool, workspaceOf } from './rows';
import { bytes } from './words';

interface Entry extends vscode.QuickPickItem {
  action?: MenuAction;
}

export class Menu {
  constructor(
    private readonly server: Server,
    private readonly pools: Pools,
    private readonly sessions: Sessions,
    private readonly focus: Focus,
  ) {}

  /** Shows the menu and does what is chosen. */
  async show(): Promise<void> {
    const entries = menuItems(this.workspace, this.tie).flatMap(({ title, items }): Entry[] => [
      { label: title, kind: vscode.QuickPickItemKind.Separator },
      ...items.map(({ icon, label, description, action }) => ({
        label: `$(${icon}) ${label}`,
        ...(description !== undefined && { description }),
        action,
      })),
    ]);
    const picked = await vscode.window.showQuickPick(entries, {
      placeHolder: 'Pool, local namespace and session',
      matchOnDescription: true,
    });
    if (picked?.action) {
      await this.act(picked.action);
    }
  }

  private get workspace(): ReturnType<typeof workspaceOf> {
    return workspaceOf(this.pools.workspaces, this.focus.folder);
  }

  private get tie(): Tie | undefined {
    return this.sessions.of(this.focus.folder);
  }

  private async act(action: MenuAction): Promise<unknown> {
    switch (action) {
      case 'make':
        return this.command('dip.makePool');
      case 'chooseRanks':
        return this.chooseRanks();
      case 'chooseGpus':
        return this.chooseGpus();
      case 'restartPool':
        return this.command('dip.restartPool');
      case 'killPool':
        return this.command('dip.killPool');
      case 'restartLocal':
        return this.command('dip.restartLocal');
      case 'restart':
        return this.command('dip.restart');
      case 'interrupt':
        return this.command('dip.interrupt');
      case 'free':
        return this.command('dip.free');
      case 'autodip':
        return this.command('dip.autodip', { on: this.workspace?.pool.autodip === '' });
      case 'autodipFlags':
        return this.autodipFlags();
      case 'showOutput':
        return vscode.commands.executeCommand('dip.showChannel');
      case 'showResults':
        return vscode.commands.executeCommand('dip.results.focus');
      case 'showRanks':
        return vscode.commands.executeCommand('dip.ranks.focus');
      case 'showStacks':
        return vscode.commands.executeCommand('dip.showStacks');
      case 'freeMemory':
        return this.command('dip.freeMemory');
      case 'attachSession':
        return this.command('dip.attachSession');
      case 'renameSession':
        return this.command('dip.renameSession');
      case 'showSessionLog':
        return this.tie && showFile(this.tie.log);
      case 'showJournals':
        return this.tie && showJournals(this.tie);
      case 'stopSession':
        return this.command('dip.stopSession');
      case 'selectInterpreter':
        return vscode.commands.executeCommand('dip.selectInterpreter');
      case 'restartServer':
        return vscode.commands.executeCommand('dip.restartServer');
    }
  }

  /** Executes the editor's command, so that errors are shown and losses asked about in one place. */
  private command(name: string, args: object = {}): Thenable<unknown> {
    return vscode.commands.executeCommand(name, { ...this.focus.where, ...args });
  }

  private async chooseRanks(): Promise<void> {
    const text = await vscode.window.showInputBox({
      title: 'Number of ranks',
      value: String(this.workspace?.pool.size || 2),
      validateInput: badCount,
    });
    if (text !== undefined) {
      await this.make({ ranks: Number(text) });
    }
  }

  private async chooseGpus(): Promise<void> {
    const gpus = await this.pickGpus();
    if (gpus !== undefined) {
      await this.make({ gpus });
    }
  }

  private make(args: object): Thenable<unknown> {
    const { state } = this.workspace?.pool ?? { state: 'none' };
    const replaced = hasPool(this.workspace) || state === 'dead' || state === 'starting';
    return this.command('dip.makePool', { ...args, ...(replaced && { restart: true }) });
  }

  /** The GPUs of the machine to choose from; where none can be seen, a list to type. */
  private async pickGpus(): Promise<string | undefined> {
    const { gpus } = await this.server.execute('dip.gpus', this.focus.where);
    if (gpus.length === 0) {
      return vscode.window.showInputBox({
        title: 'GPUs',
        prompt: 'No GPU was found here. Type all, or a list such as 0,2-3: one rank each',
        validateInput: badGpus,
      });
    }
    const used = new Set(this.workspace?.pool.ranks.map((rank) => rank.device));
    const picked = await vscode.window.showQuickPick(
      gpus.map(({ index, name, total_bytes, used_bytes }) => ({
        index,
        label: `cuda:${index}`,
        description: name,
        detail: total_bytes > 0 ? `${bytes(used_bytes)} of ${bytes(total_bytes)} used` : '',
        picked: used.size > 0 ? used.has(`cuda:${index}`) : true,
      })),
      { canPickMany: true, title: 'GPUs of the pool', placeHolder: 'One rank each' },
    );
    return picked && picked.length > 0 ? picked.map(({ index }) => index).join(',') : undefined;
  }

  private async autodipFlags(): Promise<void> {
    const now = this.workspace?.pool.autodip.replace(/^%%dip\s*/, '');
    const flags = await vscode.window.showInputBox({
      title: 'Autodip with flags',
      prompt: 'Arguments of %%dip for cells that do not say where they run',
      value: now || '--see all',
    });
    if (flags !== undefined) {
      await this.command('dip.autodip', { on: true, flags });
    }
  }
}
