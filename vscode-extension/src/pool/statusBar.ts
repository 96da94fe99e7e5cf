/** The status-bar item: `Dip: 4 ranks · autodip on · attached`, and while a cell runs, for how long. It opens the menu. */
import * as vscode from 'vscode';
import type { HangEvent, WorkspaceStatus } from '../generated/server';
import { going } from '../progress';
import type { Runs } from '../runs';
import type { Focus } from './focus';
import type { Sessions } from '../sessions/sessions';
import type { Pools } from './pools';
import { isThere, type Mood, statusText, statusTooltip, workspaceOf } from './rows';

const icons: Record<Mood, string> = {
  idle: '$(server-process)',
  starting: '$(loading~spin)',
  running: '$(loading~spin)',
  hung: '$(warning)',
  dead: '$(error)',
  detached: '$(debug-disconnect)',
  gone: '$(debug-disconnect)',
};

const backgrounds: Partial<Record<Mood, string>> = {
  hung: 'statusBarItem.warningBackground',
  dead: 'statusBarItem.errorBackground',
  detached: 'statusBarItem.warningBackground',
  gone: 'statusBarItem.errorBackground',
};

/** How often the tooltip is made anew, in milliseconds: it says for how long a session has been there. */
const minute = 60_000;

/** How often it says anew for how long a run has been going on, in milliseconds. */
const second = 1000;

/** The item of a status bar; `hangs` says what the ranks of a workspace wait for. */
export function showStatusBar(
  pools: Pools,
  sessions: Sessions,
  focus: Focus,
  runs: Runs,
  hangs: (workspace: WorkspaceStatus | undefined) => readonly HangEvent[],
): vscode.Disposable {
  const item = vscode.window.createStatusBarItem('dip.pool', vscode.StatusBarAlignment.Left, 10);
  item.name = 'Dip Pool';
  item.command = 'dip.menu';
  let ticking: ReturnType<typeof setInterval> | undefined;
  const update = (): void => {
    const workspace = workspaceOf(pools.workspaces, focus.folder);
    const tie = sessions.of(focus.folder);
    const { text, mood } = statusText(workspace, hangs(workspace), tie);
    const run = workspace?.runs.find(({ state }) => state === 'running');
    const since = run && going(runs.get(run.run), Date.now());
    item.text = [`${icons[mood]} ${text}`, ...(since ? [since] : [])].join(' · ');
    if ((run !== undefined) !== (ticking !== undefined)) {
      clearInterval(ticking);
      ticking = run && setInterval(update, second);
    }
    item.tooltip = new vscode.MarkdownString(statusTooltip(workspace, pools.workspaces.length > 1, tie, Date.now()));
    item.accessibilityInformation = { label: `${text}${mood === 'running' ? ', running' : ''}`, role: 'button' };
    const colour = backgrounds[mood];
    item.backgroundColor = colour === undefined ? undefined : new vscode.ThemeColor(colour);
    if (focus.python || pools.workspaces.some(isThere) || mood === 'gone' || mood === 'detached') {
      item.show();
    } else {
      item.hide();
    }
  };
  update();
  const timer = setInterval(update, minute);
  return vscode.Disposable.from(
    item,
    new vscode.Disposable(() => {
      clearInterval(timer);
      clearInterval(ticking);
    }),
    focus.onChange(update),
    pools.onChange(update),
    sessions.listen({ changed: update }),
  );
}
