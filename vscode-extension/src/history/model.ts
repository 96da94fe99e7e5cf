/** What the History view shows, without the editor: runs of the past by day and file. */
import * as path from 'node:path';
import type { PastRun, RunsArgs } from '../generated/server';
import { bytes, count } from '../pool/words';
import { duration, targetWords } from '../ranks';

/** The runs of a file on one day, the latest first. */
export interface FileNode {
  readonly kind: 'file';
  /** Its path; empty for runs of no file. */
  readonly path: string;
  readonly day: string;
  readonly runs: readonly PastRun[];
}

/** The files that ran on a day, the latest first. */
export interface DayNode {
  readonly kind: 'day';
  /** 2026-01-31 */
  readonly day: string;
  readonly label: string;
  readonly files: readonly FileNode[];
}

/** Runs, the latest first, by day and file. */
export function group(runs: readonly PastRun[], now: Date): DayNode[] {
  const days = new Map<string, Map<string, PastRun[]>>();
  for (const run of runs) {
    const day = dayOf(new Date(run.started));
    const files = days.get(day) ?? new Map<string, PastRun[]>();
    days.set(day, files);
    const file = run.path ?? '';
    files.set(file, [...(files.get(file) ?? []), run]);
  }
  return [...days].map(([day, files]) => ({
    kind: 'day',
    day,
    label: dayLabel(day, now),
    files: [...files].map(([path, runs]) => ({ kind: 'file', path, day, runs })),
  }));
}

const two = (n: number): string => String(n).padStart(2, '0');

/** The day of a time, where the user is. */
function dayOf(time: Date): string {
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

function dayLabel(day: string, now: Date): string {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  return day === dayOf(now) ? 'Today' : day === dayOf(yesterday) ? 'Yesterday' : day;
}

/** The name of a file in the list. */
export function fileLabel({ path: file }: Pick<FileNode, 'path'>): string {
  return file === '' ? 'Code without a file' : path.basename(file);
}

/** `3 runs, 1 failed` */
export function fileText({ runs }: Pick<FileNode, 'runs'>): string {
  const failed = runs.filter(({ status }) => status !== 'ok' && status !== 'running').length;
  return [count(runs.length, 'run'), ...(failed === 0 ? [] : [`${failed} not ok`])].join(', ');
}

/** `cell 4 Train` */
export function runLabel({ cell, title }: Pick<PastRun, 'cell' | 'title'>): string {
  return cell === 0 ? title || 'run' : `cell ${cell} ${title}`.trim();
}

/**
 * `✓ 12.5 s · 12:04 · 8.6 GB`: marks are signs as well as colours. `there` says that what the run has left is known to be there; otherwise one that was ok
 * has the mark `○`.
 */
export function runText(run: PastRun, there: boolean): string {
  const started = new Date(run.started);
  const how = run.status === 'ok' ? (there ? marks.ok : '○') : `${marks[run.status]} ${run.status}`;
  return [
    `${how}${run.seconds > 0 ? ` ${duration(run.seconds)}` : ''}`,
    `${two(started.getHours())}:${two(started.getMinutes())}`,
    ...(run.peak_memory === undefined ? [] : [`${bytes(run.peak_memory)} peak`]),
  ].join(' · ');
}

const marks: Record<PastRun['status'], string> = {
  ok: '✓',
  error: '✗',
  died: '✗',
  killed: '✗',
  interrupted: '■',
  running: '▶',
};

/** What is known of a run, a line each. */
export function runDetails(run: PastRun, there: boolean): string[] {
  return [
    `${runLabel(run)}: ${runText(run, there)}`,
    ...(run.status === 'ok' && !there ? ['What it has left may be gone.'] : []),
    ...(run.path === undefined ? [] : [`${run.path}:${run.line ?? 1}`]),
    `${targetWords(run.target)}, run ${run.run}`,
    ...(run.reason === undefined ? [] : [run.reason]),
    ...(run.journal === undefined ? ['It has put nothing out.'] : []),
  ];
}

/** What a filter is in words; empty without one. */
export function filterText({ path: file, cell, status, since }: RunsArgs): string {
  return [
    ...(file === undefined ? [] : [path.basename(file)]),
    ...(cell === undefined ? [] : [`cell ${cell}`]),
    ...(status === undefined ? [] : [status.join(', ')]),
    ...(since === undefined ? [] : [`since ${dayOf(new Date(since))}`]),
  ].join(' · ');
}

/** The cell of a document that a run is to be run again of: the one that it was, else one of its title, else one of its number. */
export function cellOf<C extends { run: string; title: string; number: number; kind: string }>(
  cells: readonly C[],
  run: Pick<PastRun, 'run' | 'title' | 'cell'>,
): C | undefined {
  const code = cells.filter(({ kind }) => kind === 'code');
  return (
    code.find((cell) => cell.run === run.run) ??
    code.find((cell) => run.title !== '' && cell.title === run.title) ??
    code.find((cell) => run.title === '' && cell.number === run.cell)
  );
}
