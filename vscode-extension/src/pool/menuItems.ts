/** What the menu of the status-bar item offers in each state. */
import type { WorkspaceStatus } from '../generated/server';
import type { Tie } from '../sessions/sessions';
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
  | 'restart'
  | 'freeMemory'
  | 'attachSession'
  | 'renameSession'
  | 'showSessionLog'
  | 'showJournals'
  | 'stopSession'
  | 'restartServer'
  | 'selectInterpreter';

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

/** The menu of a workspace and its session, the likeliest first. */
export function menuItems(workspace: WorkspaceStatus | undefined, tie?: Tie): MenuSection[] {
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
      { action: 'killPool', icon: 'trash', label: 'End pool' },
    );
  } else if (state === 'starting') {
    pool.push({ action: 'killPool', icon: 'trash', label: 'End pool', description: 'while it starts' });
  } else {
    pool.push({ action: 'make', icon: 'play-circle', label: 'Make pool', description: 'as the settings say' });
  }
  pool.push(
    { action: 'chooseRanks', icon: 'list-ordered', label: was ? 'Change number of ranks…' : 'Make pool of N ranks…' },
    { action: 'chooseGpus', icon: 'circuit-board', label: was ? 'Change GPUs…' : 'Make pool on GPUs…' },
  );

  if (workspace?.pool.ranks.some(({ device }) => device.startsWith('cuda'))) {
    pool.push({
      action: 'freeMemory',
      icon: 'database',
      label: 'Free GPU memory',
      description: 'what torch has cached; no variable is lost',
    });
  }

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
  python.push({ action: 'selectInterpreter', icon: 'symbol-misc', label: 'Select interpreter…' });

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
    sessionItems(tie),
  ].filter((section) => section.items.length > 0);
}

/** What can be done with a session. One that ends with the editor can only be left for another. */
function sessionItems(tie: Tie | undefined): MenuSection {
  const { state = 'own', name = '', log = '', journal = '' } = tie ?? {};
  const items: MenuItem[] = [];
  if (state === 'detached') {
    items.push({
      action: 'restartServer',
      icon: 'debug-restart',
      label: 'Restart server',
      description: 'attaches again',
    });
  } else {
    items.push({ action: 'attachSession', icon: 'plug', label: 'Attach to another session…' });
  }
  if (state === 'attached' || state === 'reattached') {
    items.push({ action: 'renameSession', icon: 'edit', label: 'Rename session…', description: name });
  }
  if (log !== '') {
    items.push({
      action: 'showSessionLog',
      icon: 'list-flat',
      label: 'Show log of session',
      description: 'who did what',
    });
  }
  if (journal !== '' && state !== 'own') {
    items.push({
      action: 'showJournals',
      icon: 'history',
      label: 'Show journals of session…',
      description: 'its runs',
    });
  }
  if (state === 'attached' || state === 'reattached') {
    items.push({
      action: 'stopSession',
      icon: 'trash',
      label: 'End session…',
      description: 'Python and all variables end',
    });
  }
  return { title: name === '' ? 'Session' : `Session ${name}`, items };
}

/** What is wrong with a typed number of ranks; undefined if nothing. */
export function badCount(text: string): string | undefined {
  return /^[1-9]\d{0,4}$/.test(text.trim()) ? undefined : 'A number of ranks, from 1';
}

/** What is wrong with a typed list of GPUs; undefined if nothing. */
export function badGpus(text: string): string | undefined {
  return /^\s*(all|\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*)\s*$/.test(text) ? undefined : 'all, or a list such as 0,2-3';
}
