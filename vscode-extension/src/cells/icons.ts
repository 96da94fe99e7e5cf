/** Pictures of the gutter. Each has its own shape, so they can be told apart without colours. */
import type { Mark } from './places';

/** Colours on a dark and on a light background, with enough contrast for both, also in high-contrast themes. */
const colours: Record<Mark, { dark: string; light: string }> = {
  queued: { dark: '#a0a0a0', light: '#6a6a6a' },
  running: { dark: '#4daafc', light: '#0063b8' },
  ok: { dark: '#73c991', light: '#217a3c' },
  failed: { dark: '#f88070', light: '#c72e0f' },
  interrupted: { dark: '#cca700', light: '#8a6d00' },
  gone: { dark: '#a0a0a0', light: '#6a6a6a' },
  stale: { dark: '#a0a0a0', light: '#6a6a6a' },
};

const stroke = 'fill="none" stroke="COLOUR" stroke-width="1.8" stroke-linejoin="round"';

const turning =
  'g{transform-origin:8px 8px;animation:t 1s steps(12) infinite}@keyframes t{to{transform:rotate(360deg)}}' +
  '@media(prefers-reduced-motion:reduce){g{animation:none}}';

const shapes: Record<Mark, string> = {
  // A clock.
  queued: `<g ${stroke}><circle cx="8" cy="8" r="5.2"/><path d="M8 5v3.2l2 1.3"/></g>`,
  // An arc that turns in steps, which costs next to nothing. It stands still for people who want less motion.
  running: `<style>${turning}</style><g ${stroke}><path d="M8 2.8a5.2 5.2 0 1 1-5.2 5.2"/></g>`,
  ok: `<path ${stroke} d="M3.2 8.6l3.1 3.1 6.5-7.4"/>`,
  failed: `<path ${stroke} d="M4 4l8 8M12 4l-8 8"/>`,
  interrupted: `<rect ${stroke} x="4" y="4" width="8" height="8" rx="1"/>`,
  // A ring, as in the lenses.
  gone: `<circle ${stroke} cx="8" cy="8" r="5"/>`,
  // A ring in pieces.
  stale: `<circle ${stroke} cx="8" cy="8" r="5" stroke-dasharray="2.6 2.64"/>`,
};

/** The picture of a mark as a URI, for a background. */
export function icon(mark: Mark, background: 'dark' | 'light'): string {
  const shape = shapes[mark].replaceAll('COLOUR', colours[mark][background]);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16">${shape}</svg>`;
  return `data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}`;
}
