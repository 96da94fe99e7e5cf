/** Ranks that wait for others, in words, and what of that the user is notified of. */
import type { DipEvent, HangEvent, Place } from './generated/server';
import { type HostOf, whose } from './ranks';

/** What a rank has to do with a hang. */
export interface Standing {
  /** `waits in all_reduce at train.py:41`, `missing: in next(loader) at data.py:88`. */
  readonly text: string;
  /** It may not end by itself. */
  readonly alarm: boolean;
}

/** Whether a finding may not end by itself. */
export function isAlarm(hang: HangEvent): boolean {
  return hang.level !== 'info';
}

/** What a rank has to do with hangs: an alarm comes before slowness, and being missing before waiting. */
export function standing(hangs: readonly HangEvent[], rank: number): Standing | undefined {
  const found = hangs.flatMap((hang) => {
    const missing = placeOf(hang.missing, rank);
    const waits = placeOf(hang.waiting, rank);
    const alarm = isAlarm(hang);
    return [
      ...(missing ? [{ text: missingText(missing), alarm, order: alarm ? 0 : 2 }] : []),
      ...(waits ? [{ text: waitingText(waits, hang), alarm, order: alarm ? 1 : 3 }] : []),
    ];
  });
  const [first] = found.sort((a, b) => a.order - b.order);
  return first && { text: first.text, alarm: first.alarm };
}

/** Who waits for whom, in a few words: `ranks 0-1,3 wait for rank 2`; undefined where no finding is an alarm. */
export function summary(hangs: readonly HangEvent[], hostOf?: HostOf): string | undefined {
  const hang = hangs.find(isAlarm);
  const waiting = ranksIn(hang?.waiting);
  const missing = ranksIn(hang?.missing);
  if (!hang || waiting.length === 0) {
    return hang && 'ranks wait';
  }
  const others = missing.length === 0 ? '' : ` for ${whose(missing, hostOf)}`;
  return `${whose(waiting, hostOf)} ${waiting.length === 1 ? 'waits' : 'wait'}${others}`;
}

/** Remembers what the user was notified of: each alarm once, without its corrections. */
export class Alarms {
  private readonly told = new Map<string, Set<number>>(); // by run

  /** What to notify the user of after an event; undefined: nothing. */
  apply(event: DipEvent): HangEvent | undefined {
    const run = event.run ?? '';
    if (event.event === 'run_finished') {
      this.told.delete(run);
    }
    if (event.event !== 'hang' || event.gone || !isAlarm(event) || this.told.get(run)?.has(event.hang)) {
      return undefined;
    }
    this.told.set(run, (this.told.get(run) ?? new Set()).add(event.hang));
    return event;
  }
}

function placeOf(places: readonly Place[] | undefined, rank: number): Place | undefined {
  return places?.find(({ ranks }) => ranks.includes(rank));
}

function ranksIn(places: readonly Place[] | undefined): number[] {
  return [...new Set((places ?? []).flatMap(({ ranks }) => ranks))].sort((a, b) => a - b);
}

function waitingText({ why, ...place }: Place, hang: HangEvent): string {
  const what = why || (hang.operation ? `in ${hang.operation}` : '');
  const where = at(place);
  return ['waits', what, ...(where === '' ? [] : ['at', where])].filter((word) => word !== '').join(' ');
}

function missingText({ why, ...place }: Place): string {
  const where = at(place);
  return ['missing:', why, ...(where === '' ? [] : ['at', where])].filter((word) => word !== '').join(' ');
}

/** `train.py:41`; empty where the place is in no file. */
function at({ path: file, line }: Pick<Place, 'path' | 'line'>): string {
  return file && line ? `${file.slice(file.lastIndexOf('/') + 1)}:${line}` : '';
}
