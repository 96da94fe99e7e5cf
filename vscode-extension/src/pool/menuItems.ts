/** What the menu of the status-bar item offers in each state. */
import type { WorkspaceStatus } from '../generated/server';
import { hasPool } from './rows';
import { count } from './words';

export type MenuAction =
  | 'make'
  | 'restartPool'
  | 'killPool'
  | 'chooseRanks'
  | 'chooseGpus'
  | 'autodip'
  | 'autodipFlags'
  | 'interrupt'
  | 'free'
  | 'showOutput'
  | 'showResults'
  | 'showRanks'
  | 'showStacks'
  | 'restartLocal'
  | 'restart';

export interface MenuItem {
  action: MenuAction;
  /** A codicon. */
  icon: string;
  label: string;
  description?: string;
}

export interface MenuSection {
  title: string;
  items: MenuItem[];
}

/** The menu of a workspace, the likeliest first. */
export function menuItems(workspace: WorkspaceStatus | undefined): MenuSection[] {
  const hung = workspace?.runs.some(({ hang }) => hang !== undefined) ?? false;
  const state = workspace?.pool.state ?? 'none';
  const size = workspace?.pool.size ?? 0;
  const runs = workspace?.runs.length ?? 0;
  const autodip = workspace?.pool.autodip ?? '';
  const lives = hasPool(workspace);
  const was = lives || state === 'dead';
  const local = workspace !== undefined && workspace.pool.local !== null;

  const pool: MenuItem[] = [];
  if (was) {
    pool.push(
      { action: 'restartPool', icon: 'debug-restart', label: 'Restart pool', description: count(size, 'rank') },
      { action: 'killPool', icon: 'trash', label: 'Kill pool' },
    );
  } else if (state === 'starting') {
    pool.push({ action: 'killPool', icon: 'trash', label: 'Kill pool', description: 'while it starts' });
  } else {
    pool.push({ action: 'make', icon: 'play-circle', label: 'Make pool', description: 'as the settings say' });
  }
  pool.push(
    { action: 'chooseRanks', icon: 'list-ordered', label: was ? 'Change number of ranks…' : 'Make pool of N ranks…' },
    { action: 'chooseGpus', icon: 'circuit-board', label: was ? 'Change GPUs…' : 'Make pool on GPUs…' },
  );

  const show: MenuItem[] = [
    { action: 'showOutput', icon: 'output', label: 'Show output' },
    { action: 'showResults', icon: 'preview', label: 'Show results' },
    { action: 'showRanks', icon: 'server-process', label: 'Show ranks and variables' },
  ];
  if (lives || local) {
    show.push({ action: 'showStacks', icon: 'layers', label: 'Show stacks', description: 'where each process is' });
  }

  const python: MenuItem[] = [];
  if (local) {
    python.push({ action: 'restartLocal', icon: 'refresh', label: 'Restart local namespace' });
  }
  if (local || was) {
    python.push({
      action: 'restart',
      icon: 'debug-rerun',
      label: 'Restart Python',
      description: 'local namespace and ranks',
    });
  }

  const switches: MenuItem[] = [
    autodip === ''
      ? {
          action: 'autodip',
          icon: 'circle-large-outline',
          label: 'Turn autodip on',
          description: 'cells that do not say where run on the ranks',
        }
      : { action: 'autodip', icon: 'pass-filled', label: 'Turn autodip off', description: autodip },
    { action: 'autodipFlags', icon: 'settings', label: 'Turn autodip on with flags…' },
  ];

  const running: MenuItem[] =
    runs > 0
      ? [{ action: 'interrupt', icon: 'debug-stop', label: 'Interrupt all', description: count(runs, 'run') }]
      : [];
  if (hung) {
    running.unshift({ action: 'free', icon: 'debug-disconnect', label: 'Free ranks', description: 'variables stay' });
  }

  return [
    { title: 'Runs', items: running },
    { title: 'Pool', items: pool },
    { title: 'Autodip', items: switches },
    { title: 'Show', items: show },
    { title: 'Python', items: python },
  ].filter((section) => section.items.length > 0);
}

/** What is wrong with a typed number of ranks; undefined if nothing. */
export function badCount(text: string): string | undefined {
  return /^[1-9]\d{0,4}$/.test(text.trim()) ? undefined : 'A number of ranks, from 1';
}

/** What is wrong with a typed list of GPUs; undefined if nothing. */
export function badGpus(text: string): string | undefined {
  return /^\s*(all|\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*)\s*$/.test(text) ? undefined : 'all, or a list such as 0,2-3';
}
