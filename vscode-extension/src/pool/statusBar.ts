/** The status-bar item: `Dip: 4 ranks · autodip on`. It opens the menu. */
import * as vscode from 'vscode';
import type { Focus } from './focus';
import type { Pools } from './pools';
import { isThere, type Mood, statusText, statusTooltip, workspaceOf } from './rows';

const icons: Record<Mood, string> = {
  idle: '$(server-process)',
  starting: '$(loading~spin)',
  running: '$(loading~spin)',
  dead: '$(error)',
};

export function showStatusBar(pools: Pools, focus: Focus): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('dip.pool', vscode.StatusBarAlignment.Left, 10);
  item.name = 'Dip Pool';
  item.command = 'dip.menu';
  const update = (): void => {
    const workspace = workspaceOf(pools.workspaces, focus.folder);
    const { text, mood } = statusText(workspace);
    item.text = `${icons[mood]} ${text}`;
    item.tooltip = new vscode.MarkdownString(statusTooltip(workspace, pools.workspaces.length > 1));
    item.accessibilityInformation = { label: `${text}${mood === 'running' ? ', running' : ''}`, role: 'button' };
    item.backgroundColor = mood === 'dead' ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
    if (focus.python || pools.workspaces.some(isThere)) {
      item.show();
    } else {
      item.hide();
    }
  };
  update();
  return vscode.Disposable.from(item, focus.onChange(update), pools.onChange(update));
}
