/** Rich output as elements. */
import type { Rich } from '../../timeline';
import { h } from './dom';
import { sanitise, styleAttribute } from './sanitise';

/** Makes an element of a MIME type's value; undefined if there is nothing to see. */
type Show = (value: unknown, output: Rich, context: RichContext) => HTMLElement | undefined;

export interface RichContext {
  /** The page's nonce. */
  readonly nonce: string;
  /** Whose output it is, for screen readers. */
  readonly whose: string;
  /** Text with colours and links. */
  readonly text: (text: string) => HTMLElement;
}

/** From the most to the least informative. */
const shows: readonly (readonly [RegExp, Show])[] = [
  [/^text\/html$/, html],
  [/^image\/(png|jpeg|gif|webp)$/, image],
  [/^image\/svg\+xml$/, svg],
  [/^application\/(.+\+)?json$/, json],
  [/^text\/(markdown|latex)$/, text],
  [/^text\/plain$/, text],
  [/^text\//, text],
];

/** The element of an output: of the first of its types that has something to show. */
export function richElement(output: Rich, context: RichContext): HTMLElement {
  for (const [form, show] of shows) {
    for (const [mime, value] of Object.entries(output.data)) {
      const element = form.test(mime) ? show(value, output, { ...context }) : undefined;
      if (element) {
        return element;
      }
    }
  }
  return context.text(`<${Object.keys(output.data).join(', ')}>`);
}

function text(value: unknown, _: Rich, context: RichContext): HTMLElement | undefined {
  return typeof value === 'string' ? context.text(value) : undefined;
}

function image(value: unknown, output: Rich, context: RichContext): HTMLElement | undefined {
  const [mime] = Object.entries(output.data).find(([, other]) => other === value) ?? [];
  return typeof value === 'string' && mime
    ? picture(`data:${mime};base64,${value.replace(/\s/g, '')}`, mime, output, context)
    : undefined;
}

function svg(value: unknown, output: Rich, context: RichContext): HTMLElement | undefined {
  const source = typeof value === 'string' ? `data:image/svg+xml;utf8,${encodeURIComponent(value)}` : undefined;
  return source === undefined ? undefined : picture(source, 'image/svg+xml', output, context);
}

/** An image element: its content does not become part of the page. */
function picture(src: string, mime: string, output: Rich, context: RichContext): HTMLElement {
  const alt = output.data['text/plain'];
  const element = h('img', { src, alt: `${typeof alt === 'string' ? alt : 'Image'} of ${context.whose}` });
  const size = output.metadata?.[mime];
  if (typeof size === 'object' && size !== null) {
    for (const side of ['width', 'height'] as const) {
      const value = (size as Partial<Record<typeof side, unknown>>)[side];
      if (typeof value === 'number') {
        element[side] = value;
      }
    }
  }
  return element;
}

/** A frame for HTML without scripts. No script can run in it. */
function html(value: unknown, _: Rich, context: RichContext): HTMLElement | undefined {
  const clean = typeof value === 'string' ? sanitise(value, context.nonce, window) : undefined;
  if (clean === undefined) {
    return undefined;
  }
  // `allow-same-origin` lets the page measure the frame's text. Scripts would need `allow-scripts`.
  const frame = h('iframe', { sandbox: 'allow-same-origin', title: `Output of ${context.whose}` });
  frame.addEventListener('load', () => {
    const page = frame.contentDocument;
    if (page) {
      for (const element of page.querySelectorAll<HTMLElement>(`[${styleAttribute}]`)) {
        element.style.cssText = element.getAttribute(styleAttribute) ?? '';
      }
      frame.style.height = `${Math.min(page.documentElement.offsetHeight, maxFrame)}px`;
    }
  });
  frame.srcdoc = `<!DOCTYPE html><html lang="en"><head><style nonce="${context.nonce}">${frameStyle()}</style></head><body>${clean}</body></html>`;
  return frame;
}

const maxFrame = 600; // higher ones scroll

/** The theme's colours, for a frame, which does not have the page's CSS variables. */
function frameStyle(): string {
  const theme = getComputedStyle(document.documentElement);
  const of = (name: string, otherwise: string): string => theme.getPropertyValue(`--vscode-${name}`) || otherwise;
  return `
html { height: auto; color: ${of('foreground', 'CanvasText')}; font: ${of('font-size', '13px')} ${of('font-family', 'sans-serif')}; }
body { margin: 0; padding: 2px 0; overflow-x: auto; }
table { border-collapse: collapse; border: none; }
th, td { padding: 2px 8px; border: 1px solid ${of('panel-border', 'GrayText')}; text-align: right; vertical-align: top; }
pre, code { font-family: ${of('editor-font-family', 'monospace')}; }
img { max-width: 100%; }`;
}

/** A tree that opens. */
function json(value: unknown): HTMLElement {
  return h('div', { class: 'json' }, branch('', value, true));
}

const maxChildren = 1000; // of an object or array

function branch(name: string, value: unknown, open = false): HTMLElement {
  const before = name === '' ? [] : [h('span', { class: 'name' }, `${name}: `)];
  if (typeof value !== 'object' || value === null) {
    return h('div', {}, ...before, h('span', { class: typeof value }, JSON.stringify(value)));
  }
  const list = Object.entries(value);
  const count = Array.isArray(value) ? `[${list.length}]` : `{${list.length}}`;
  const details = h('details', {}, h('summary', {}, ...before, count));
  const fill = (): void => {
    if (details.open && details.childElementCount === 1) {
      details.append(...list.slice(0, maxChildren).map(([key, child]) => branch(key, child)));
      if (list.length > maxChildren) {
        details.append(h('div', { class: 'note' }, `… ${list.length - maxChildren} more`));
      }
    }
  };
  details.addEventListener('toggle', fill);
  details.open = open;
  fill();
  return details;
}
