/** What is shown of a workspace's pool and local namespace: text and icons, without the editor that shows them. */
import type { CurrentRun, HangEvent, WorkspaceStatus } from '../generated/server';
import { type Standing, standing, summary } from '../hangs';
import { duration, hostsInPool, type HostOf, LOCAL, type OnHost, rankList, whose } from '../ranks';
import type { Memory, Placed, Sample } from './pools';
import type { Tie } from '../sessions/sessions';
import { tieDetails, tieText } from '../sessions/words';
import { bytes, count, escaped } from './words';

/** A rank or the local namespace, as one row. */
export interface Process {
  /** Its number, or `LOCAL`. */
  rank: number;
  /** The name of its machine. */
  host: string;
  pid: number;
  /** '' where there is none. */
  device: string;
  state: string;
  memory?: Memory;
  work?: CurrentRun;
  /** What it waits for, or who waits for it. */
  hang?: Standing;
  /** Why it is dead. */
  reason?: string;
  /** Its host does not answer: what is known of it may be old. */
  unreachable?: true;
}

export type Mood = 'idle' | 'starting' | 'running' | 'hung' | 'dead' | 'detached' | 'gone';

export interface StatusText {
  /** Without icons: `Dip: 4 ranks · autodip on`. */
  text: string;
  mood: Mood;
}

/** Whether ranks live that hold variables. */
export function hasPool(workspace: WorkspaceStatus | undefined): boolean {
  return workspace !== undefined && isAlive(workspace.pool);
}

function isAlive({ state }: WorkspaceStatus['pool']): boolean {
  return ['ready', 'busy', 'interrupting'].includes(state);
}

/** Whether anything of a workspace lives, is starting, or has died and was not cleared away. */
export function isThere(workspace: WorkspaceStatus): boolean {
  return workspace.pool.local !== null || hasPool(workspace) || ['starting', 'dead'].includes(workspace.pool.state);
}

/** The workspace of a folder. Without a folder, the only one, or the first in which something lives. */
export function workspaceOf(
  workspaces: readonly WorkspaceStatus[],
  folder: string | undefined,
): WorkspaceStatus | undefined {
  return folder === undefined
    ? (workspaces.find(isThere) ?? workspaces[0])
    : workspaces.find((workspace) => workspace.folder === folder);
}

/** What the ranks of a workspace wait for, of what is known of a run. */
export function hangsOf(
  workspace: WorkspaceStatus | undefined,
  ofRun: (run: string) => Iterable<HangEvent>,
): HangEvent[] {
  return (workspace?.runs ?? []).flatMap(({ run }) => [...ofRun(run)]);
}

/** The local namespace and the ranks of a workspace, `age` seconds after the server's answer. */
export function processes(
  workspace: WorkspaceStatus | undefined,
  memory: (process: Placed) => Memory | undefined,
  age: number,
  hangs: readonly HangEvent[] = [],
): Process[] {
  if (!workspace) {
    return [];
  }
  const { local, ranks, reason } = workspace.pool;
  const byName = new Map((workspace.pool.hosts ?? []).map((host) => [host.host, host]));
  return [...(local ? [{ ...local, rank: LOCAL, device: '' }] : []), ...ranks].map(
    ({ rank, host, pid, device, state, run }) => {
      const known = memory({ host, pid });
      const on = rank === LOCAL ? undefined : byName.get(host);
      const why = on?.reason ?? (reason.startsWith(`${whose([rank])} `) ? reason : undefined);
      const hang = state === 'dead' || state === 'stopped' ? undefined : standing(hangs, rank);
      return {
        rank,
        host,
        pid,
        device,
        state,
        ...(known && { memory: known }),
        ...(run && { work: { ...run, seconds: run.seconds + age } }),
        ...(hang && { hang }),
        ...(state === 'dead' && why !== undefined && { reason: why }),
        ...(on?.state === 'unreachable' && { unreachable: true }),
      };
    },
  );
}

/** A host of a pool, as one row above those of its ranks. */
export interface Host {
  name: string;
  /** `unreachable · 8 ranks · 8 GPUs`, what is worth knowing. */
  text: string;
  tooltip: string;
  icon: string;
  color?: string;
  /** Its ranks. */
  ranks: number[];
}

/** The hosts of a pool that is on other machines, in the order of the ranks. */
export function hosts(workspace: WorkspaceStatus | undefined, all: readonly Process[]): Host[] {
  return (workspace?.pool.hosts ?? []).map(({ host, state, reason, clock }) => {
    const there = all.filter((process) => process.rank !== LOCAL && process.host === host);
    const memory = sum(there.map((process) => process.memory?.host));
    const gpu = sum(there.map((process) => process.memory?.gpu));
    const gpus = new Set(there.map(({ device }) => device).filter((device) => device.startsWith('cuda:'))).size;
    const apart = `clock ${duration(Math.abs(clock))} ${clock < 0 ? 'behind' : 'ahead'}`;
    const facts = [
      count(there.length, 'rank'),
      ...(gpus > 0 ? [count(gpus, 'GPU')] : []),
      ...memoryText({ host: memory, gpu }),
      ...(Math.abs(clock) > clockTolerance ? [apart] : []),
    ];
    return {
      name: host,
      text: [...(state === 'reachable' ? [] : [state]), ...facts].join(' · '),
      tooltip: [reason ?? state, ...facts, ...(facts.includes(apart) ? [] : [apart])].join('\n'),
      ranks: there.map(({ rank }) => rank),
      ...hostIcon(state, Math.abs(clock) > clockTolerance),
    };
  });
}

function sum(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length > 0 ? known.reduce((total, value) => total + value, 0) : null;
}

/** How far the clock of a host may be off, in seconds. More confuses people who compare logs, and file systems that compare times. */
const clockTolerance = 1;

function hostIcon(state: string, isOff: boolean): { icon: string; color?: string } {
  switch (state) {
    case 'reachable':
      return isOff ? { icon: 'vm', color: 'list.warningForeground' } : { icon: 'vm' };
    case 'lost':
      return { icon: 'vm', color: 'errorForeground' };
    default:
      return { icon: 'vm', color: 'list.warningForeground' };
  }
}

/** A choice of ranks, as the server reads them. */
export interface RanksChoice {
  label: string;
  description?: string;
  ranks: string;
}

/** What a user may choose of a pool's ranks: all, those of each host where it is on several, the first of each, or one. */
export function ranksToChoose(ranks: readonly OnHost[]): RanksChoice[] {
  const hostOf = hostsInPool(ranks);
  const names = [...new Set(ranks.map(({ host }) => host))];
  const byHost = names.map((name) => {
    const there = ranks.filter(({ host }) => host === name).map(({ rank }) => rank);
    return { label: `host ${name}`, description: whose(there), ranks: `host:${name}` };
  });
  return [
    { label: 'all ranks', ranks: 'all' },
    ...(names.length > 1 ? [...byHost, { label: 'first rank of each host', ranks: 'each:0' }] : []),
    ...ranks.map(({ rank }) => ({ label: whose([rank], hostOf), ranks: String(rank) })),
  ];
}

/** The message above the rows if something is wrong with the pool. */
export function poolMessage({ state, size, reason, text }: WorkspaceStatus['pool']): string {
  switch (state) {
    case 'starting':
      return `Starting ${size === 0 ? 'hosts' : count(size, 'rank')}…${text ? ` (${text})` : ''}`;
    case 'dead':
      return `The pool is dead${reason && `: ${reason}`}. Restart it to go on.`;
    default:
      return '';
  }
}

function mood(workspace: WorkspaceStatus | undefined, hung: boolean, tie: Tie | undefined): Mood {
  if (tie?.state === 'gone' || tie?.state === 'detached') {
    return tie.state;
  }
  if (!workspace) {
    return 'idle';
  }
  if (workspace.pool.state === 'dead') {
    return 'dead';
  }
  if (hung) {
    return 'hung';
  }
  if (workspace.pool.state === 'starting') {
    return 'starting';
  }
  return workspace.runs.length > 0 ? 'running' : 'idle';
}

/** The text of the status-bar item: the pool of a workspace, and how the window is tied to its session. */
export function statusText(
  workspace: WorkspaceStatus | undefined,
  hangs: readonly HangEvent[] = [],
  tie?: Tie,
): StatusText {
  const hung = workspace?.pool.state === 'dead' ? undefined : summary(hangs, hostsOfPool(workspace));
  const now = mood(workspace, hung !== undefined, tie);
  // Of a session that is gone, nothing is left that could be told.
  const pool = workspace && now !== 'gone' ? poolParts(workspace) : [];
  const parts = [...pool, tie ? tieText(tie) : '', hung === undefined ? '' : `hang? ${hung}`].filter(
    (part) => part !== '',
  );
  return { text: parts.length > 0 ? `Dip: ${parts.join(' · ')}` : 'Dip', mood: now };
}

function poolParts({ pool, runs }: WorkspaceStatus): string[] {
  const ranks = pool.state === 'starting' && pool.size === 0 ? 'hosts' : count(pool.size, 'rank');
  const autodip = pool.autodip === '' ? 'autodip off' : 'autodip on';
  const parts: string[] = [];
  if (pool.state === 'starting') {
    parts.push(`starting ${ranks}`);
  } else if (pool.state === 'dead') {
    parts.push('pool dead');
  } else if (isAlive(pool)) {
    parts.push(ranks, autodip);
  } else if (pool.autodip !== '') {
    parts.push('no pool', autodip);
  }
  if (runs.length > 1) {
    parts.push(count(runs.length, 'run'));
  }
  const failed = runs.find((run) => run.failed !== undefined)?.failed;
  if (failed !== undefined && pool.state !== 'dead') {
    parts.push(`✗ ${failed}`);
  }
  return parts;
}

/** The tooltip of the status-bar item, in Markdown, at a time in milliseconds. */
export function statusTooltip(
  workspace: WorkspaceStatus | undefined,
  several: boolean,
  tie: Tie | undefined,
  now: number,
): string {
  const pool =
    tie?.state === 'gone' || tie?.state === 'detached'
      ? []
      : workspace
        ? poolDetails(workspace)
        : ['No pool yet: a cell that runs on ranks makes it.'];
  return [
    ...pool,
    ...(tie ? tieDetails(tie, now) : []),
    ...(several && workspace ? [escaped(workspace.folder)] : []),
    'Click for what can be done.',
  ].join('\n\n');
}

function poolDetails({ pool, runs }: WorkspaceStatus): string[] {
  const lines: string[] = [];
  if (pool.state === 'starting') {
    lines.push(`**Pool of ${count(pool.size, 'rank')}** is starting`);
  } else if (isAlive(pool)) {
    const how = [pool.backend && `over ${pool.backend}`, pool.app && `app ${pool.app}`].filter(Boolean).join(', ');
    lines.push(
      `**Pool of ${count(pool.size, 'rank')}** on ${devices(pool.ranks.map((rank) => rank.device))}${how && ` ${escaped(how)}`}`,
    );
  } else if (pool.state === 'dead') {
    lines.push('**The pool is dead.** Restart it to go on.');
  } else {
    lines.push('No pool yet: a cell that runs on ranks makes it.');
  }
  if (pool.reason !== '') {
    lines.push(escaped(pool.reason));
  }
  lines.push(
    pool.autodip === ''
      ? 'Autodip off: cells that do not say where run locally'
      : `Autodip on: cells that do not say where run as \`${pool.autodip.replaceAll('`', "'")}\``,
  );
  if (runs.length > 0) {
    const queued = runs.filter((run) => run.state === 'queued').length;
    lines.push(`${count(runs.length - queued, 'run')} now${queued > 0 ? `, ${queued} queued` : ''}`);
  }
  lines.push(...runs.flatMap(({ hang }) => (hang === undefined ? [] : [escaped(hang)])));
  return lines;
}

/** `cuda:0-3`, `the CPU`: the devices of a pool in few words. */
function devices(all: readonly string[]): string {
  const numbers = all.map((device) => Number(/^cuda:(\d+)$/.exec(device)?.[1] ?? NaN));
  if (all.length > 0 && numbers.every(Number.isInteger)) {
    return `cuda:${rankList([...new Set(numbers)].sort((a, b) => a - b))}`;
  }
  return all.every((device) => device === 'cpu' || device === '') ? 'the CPU' : escaped([...new Set(all)].join(', '));
}

/** `cell 3 “Train”`: what a run is of. */
export function workName({ cell, title }: CurrentRun): string {
  const name = title ? `“${title}”` : '';
  return cell ? `cell ${cell}${name && ` ${name}`}` : title || 'a run';
}

/** The name of a process. In the Ranks view the row above says the host; elsewhere `hostOf` does. */
export function processName(rank: number, hostOf?: HostOf): string {
  return rank === LOCAL ? 'local namespace' : whose([rank], hostOf);
}

/** The hosts of the ranks of a workspace's pool, where it is on several. */
export function hostsOfPool(workspace: WorkspaceStatus | undefined): HostOf {
  return hostsInPool(workspace?.pool.ranks ?? []);
}

function memoryText({ host, gpu, load = null }: Pick<Memory, 'host' | 'gpu'> & Partial<Memory>): string[] {
  return [
    ...(host === null ? [] : [bytes(host)]),
    ...(gpu === null ? [] : [`GPU ${bytes(gpu)}`]),
    ...(load === null ? [] : [`GPU ${load} % busy`]),
  ];
}

/** A graph of figures over time, a character each, from nothing to the most; those that are unknown are blank. */
export function graph(figures: readonly (number | null)[], most: number): string {
  const bars = '▁▂▃▄▅▆▇█';
  return figures
    .map((n) => (n === null ? ' ' : bars.charAt(Math.min(bars.length - 1, Math.floor((n / most) * bars.length)))))
    .join('');
}

/** A figure, and how it was before. */
function curve(
  { past, ...now }: Memory,
  of: keyof Sample,
  label: string,
  text: (n: number) => string,
  most?: number,
): Detail[] {
  const figure = now[of];
  if (figure === null) {
    return [];
  }
  const figures = [...past.map((sample) => sample[of]), figure];
  const known = figures.filter((n) => n !== null);
  const least = Math.min(...known);
  const highest = Math.max(...known);
  if (known.length < 2) {
    return [{ label, value: text(figure) }];
  }
  const range = least === highest ? 'the same before' : `${text(least)} to ${text(highest)} before`;
  return [
    { label, value: `${text(figure)}  ${graph(figures, most ?? (highest || 1))}`, spoken: `${text(figure)}, ${range}` },
  ];
}

/** The text after a row's name; what changes most comes first. */
export function processText(process: Process): string {
  const { work, hang, memory, device, reason } = process;
  const state =
    process.state === 'dead' && reason
      ? `dead: ${reason.replace(/^rank \d+ (\((?!pid )[^)]*\) )?/, '')}`
      : work
        ? `${process.state === 'interrupting' ? 'interrupting ' : ''}${workName(work)} · ${duration(work.seconds)}`
        : process.state;
  return [
    ...(hang ? [hang.text] : []),
    state,
    ...(process.state === 'dead' ? [] : [device, ...(memory ? memoryText(memory) : []), `pid ${process.pid}`]),
  ]
    .filter((part) => part !== '')
    .join(' · ');
}

/** One line of an opened row. */
export interface Detail {
  label: string;
  value: string;
  /** For screen readers, where the value has a graph. */
  spoken?: string;
}

/** All that is known of a process. */
export function processDetails(process: Process): Detail[] {
  const { work, hang, memory, device, state, reason } = process;
  return [
    ...(hang ? [{ label: 'hang', value: hang.text }] : []),
    { label: 'state', value: reason ? `${state}: ${reason}` : state },
    ...(work ? [{ label: 'runs', value: `${workName(work)} · ${duration(work.seconds)}` }] : []),
    { label: 'pid', value: String(process.pid) },
    ...(device === '' ? [] : [{ label: 'device', value: device }]),
    ...(memory ? curve(memory, 'host', 'memory', bytes) : []),
    ...(memory ? curve(memory, 'gpu', 'GPU memory', bytes) : []),
    ...(memory ? curve(memory, 'load', 'GPU busy', (n) => `${n} %`, 100) : []),
  ];
}

/** The icon of a row: a codicon, with the theme's colour for that meaning. */
export function processIcon({ state, hang, unreachable }: Pick<Process, 'state' | 'hang' | 'unreachable'>): {
  icon: string;
  color?: string;
} {
  if (hang?.alarm) {
    return { icon: 'warning', color: 'list.warningForeground' };
  }
  if (unreachable) {
    return { icon: 'question', color: 'list.warningForeground' };
  }
  switch (state) {
    case 'busy':
      return { icon: 'loading~spin' };
    case 'interrupting':
      return { icon: 'debug-pause', color: 'charts.yellow' };
    case 'starting':
      return { icon: 'loading~spin' };
    case 'dead':
      return { icon: 'error', color: 'errorForeground' };
    case 'stopped':
      return { icon: 'circle-slash', color: 'disabledForeground' };
    default:
      return { icon: 'circle-filled', color: 'testing.iconPassed' };
  }
}
