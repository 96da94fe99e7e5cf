/** What is said of sessions, in few words. */
import type { ListedSession } from '../generated/server';
import { bytes, count, escaped } from '../pool/words';
import type { Tie } from './sessions';

/** How long something has lasted, roughly: `9 h`, `2 d 3 h`. */
export function span(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 1) {
    return 'less than a minute';
  }
  if (minutes < 60) {
    return `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d${hours % 24 === 0 ? '' : ` ${hours % 24} h`}`;
}

/** What the status bar says of a session: `attached`, `reattached to train`; nothing of one that ends with the editor. */
export function tieText({ state, name, folder }: Tie): string {
  switch (state) {
    case 'own':
      return '';
    case 'gone':
      return 'session gone';
    case 'detached':
      return 'detached';
    default:
      // A session is called as its folder is, unless somebody wants it otherwise.
      return decodeURIComponent(folder).replace(/\/$/, '').endsWith(`/${name}`) ? state : `${state} to ${name}`;
  }
}

/** What the tooltip says of a session, in Markdown, a paragraph each. */
export function tieDetails(tie: Tie, now: number): string[] {
  const { state, name, keep, since, clients, devices, memory } = tie;
  const age = span(now - Date.parse(since));
  const title = `**Session ${escaped(name)}**`;
  const gpus = new Set(devices.filter((device) => device.startsWith('cuda'))).size;
  const held =
    gpus === 0
      ? ''
      : `${count(gpus, 'GPU')} held for ${age} by session ${escaped(name)}${memory > 0 ? ` (${bytes(memory)})` : ''}`;
  switch (state) {
    case 'own':
      return ['The session ends with this window (`dip.session.keep` is 0)'];
    case 'gone':
      return [`${title} is gone`, escaped(tie.text)];
    case 'detached':
      return [`${title} goes on without this window: the Dip server does not run. Restart it to attach again.`];
    default:
      return [
        `${title}, started ${state === 'reattached' ? `${age} ago, before this window` : `for this window ${age} ago`}`,
        ...(held === '' ? [] : [held]),
        ...(clients.length > 1 ? [`Attached: ${escaped(counted(clients))}`] : []),
        keep < 0
          ? 'Kept until it is stopped'
          : `Kept for ${span(keep * 1000)} with nobody attached and nothing running`,
      ];
  }
}

/** What a list says of a session below its name and folder, which the server's line begins with. */
export function listedText({ name = '', dir, text, problem }: ListedSession): string {
  const both = `${name} in ${dir}: `;
  return problem ?? (text.startsWith(both) ? text.slice(both.length) : text);
}

/** What to ask before a session ends; undefined if nothing is lost with it. */
export function stopQuestion(session: ListedSession): { text: string; detail: string } | undefined {
  const { name = '', runs = [], ranks, used, clients = [], problem, current } = session;
  if (!used && runs.length === 0 && problem === undefined) {
    return undefined;
  }
  const titles = runs.flatMap(({ title }) => (title === undefined ? [] : [`“${title}”`]));
  const others = clients.map(({ program }) => program);
  return {
    text: `End session ${name}?`,
    detail: [
      ...(runs.length === 0 ? [] : [`What runs is interrupted${titles.length > 0 ? `: ${titles.join(', ')}` : ''}.`]),
      `All variables of the local namespace${ranks > 0 ? ` and ${count(ranks, 'rank')}` : ''} will be lost.`,
      ...(others.length > (current ? 1 : 0) ? [`Attached: ${counted(others)}.`] : []),
    ].join(' '),
  };
}

/** `VS Code (2), Neovim`. */
function counted(names: readonly string[]): string {
  return [...new Set(names)]
    .map((name) => {
      const n = names.filter((other) => other === name).length;
      return n === 1 ? name : `${name} (${n})`;
    })
    .join(', ');
}
