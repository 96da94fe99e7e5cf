/** Rich output as elements. */
import type { Rich } from '../../timeline';
import { button, h } from './dom';
import type { RendererName } from './frame/contract';
import frameStyle from './frame/style.css';
import { type FrameOptions, type Frames, rootStyle, theme } from './frames';
import { sanitise } from './sanitise';

/** Makes an element of a MIME type's value; undefined if there is nothing to see. */
type Show = (value: unknown, mime: string, output: Rich, context: RichContext) => HTMLElement | undefined;

export interface RichContext {
  readonly frames: Frames;
  /** Whose output it is, for screen readers. */
  readonly whose: string;
  /** Draw it as large as its place. */
  readonly fill: boolean;
  /** Text with colours and links. */
  readonly text: (text: string) => HTMLElement;
  /** Opens the output in an editor of its own; undefined where it is one. */
  readonly enlarge?: () => void;
  /** Keeps the output as a file. */
  readonly save: () => void;
  /** Opens the setting that allows outputs to use the network. */
  readonly allow: () => void;
}

/** From the most to the least informative. */
const shows: readonly (readonly [RegExp, Show])[] = [
  [/^application\/vnd\.plotly\.v1\+json$/, drawnBy('plotly')],
  [/^application\/vnd\.vega(lite)?\.v\d[\d.]*\+json$/, drawnBy('vega')],
  [/^text\/html$/, html],
  [/^(application|text)\/javascript$/, script],
  [/^image\/(png|jpeg|gif|webp)$/, image],
  [/^image\/svg\+xml$/, svg],
  [/^text\/(markdown|latex)$/, drawnBy('markdown')],
  [/^application\/vnd\.jupyter\.widget-view\+json$/, widget],
  [/^application\/(.+\+)?json$/, json],
  [/^text\/plain$/, text],
  [/^text\//, text],
];

/** The element of an output: of the first of its types that has something to show. */
export function richElement(output: Rich, context: RichContext): HTMLElement {
  for (const [form, show] of shows) {
    for (const [mime, value] of Object.entries(output.data)) {
      const element = form.test(mime) ? show(value, mime, output, context) : undefined;
      if (element) {
        return element;
      }
    }
  }
  const types = Object.keys(output.data).join(', ');
  return h('div', { class: 'unshown' }, `${types} cannot be shown here · `, link('Save…', context.save));
}

function link(text: string, click: () => void): HTMLElement {
  return h('button', { type: 'button', class: 'link', click }, text);
}

/** A picture, and above its corner what opens it large. */
function picture(element: HTMLElement, { enlarge, whose }: RichContext, ...below: HTMLElement[]): HTMLElement {
  const open = enlarge ? [button(`Open the output of ${whose} large`, '⤢', enlarge, { class: 'enlarge' })] : [];
  return h('div', { class: 'picture' }, element, ...open, ...below);
}

/** What a frame says about itself goes below it. */
function optionsOf({ whose, fill, allow }: RichContext, note: HTMLElement): FrameOptions {
  const say = (...content: (Node | string)[]): void => {
    note.replaceChildren(...content);
    note.hidden = false;
  };
  return {
    title: `Output of ${whose}`,
    fill,
    refused: (from) => {
      say(
        /^https?:/.test(from)
          ? `It wants to load from ${new URL(from).host}, and outputs may not use the network · `
          : `A part of it is not run: ${from} is not allowed in outputs`,
        ...(/^https?:/.test(from) ? [link('Settings', allow)] : []),
      );
    },
    failed: (text) => {
      if (note.hidden) {
        say(text);
      }
    },
  };
}

function drawnBy(renderer: RendererName): Show {
  return (value, mime, _, context) => {
    const note = h('div', { class: 'note', hidden: true });
    const frame = context.frames.drawn({ renderer, mime, value }, optionsOf(context, note));
    return renderer === 'markdown' ? h('div', {}, frame, note) : picture(frame, context, note);
  };
}

function live(source: string, context: RichContext): HTMLElement {
  const note = h('div', { class: 'note', hidden: true });
  return picture(context.frames.html(source, optionsOf(context, note)), context, note);
}

function script(value: unknown, _: string, __: Rich, context: RichContext): HTMLElement | undefined {
  if (typeof value !== 'string') {
    return undefined;
  }
  const page = document.implementation.createHTMLDocument();
  const element = page.createElement('script');
  element.textContent = `{const element = [document.body];\n${value}\n}`;
  page.body.append(element);
  return live(page.documentElement.outerHTML, context);
}

function text(value: unknown, _: string, __: Rich, context: RichContext): HTMLElement | undefined {
  return typeof value === 'string' ? context.text(value) : undefined;
}

/** A widget of Jupyter: its data only names what lives in the process, so its text is what can be shown. */
function widget(_: unknown, __: string, output: Rich, context: RichContext): HTMLElement {
  const plain = output.data['text/plain'];
  return h(
    'div',
    {},
    ...(typeof plain === 'string' ? [context.text(plain)] : []),
    h('div', { class: 'unshown' }, 'This widget of Jupyter is not live here. ', link('Save…', context.save)),
  );
}

function image(value: unknown, mime: string, output: Rich, context: RichContext): HTMLElement | undefined {
  return typeof value === 'string'
    ? imageElement(`data:${mime};base64,${value.replace(/\s/g, '')}`, mime, output, context)
    : undefined;
}

function svg(value: unknown, mime: string, output: Rich, context: RichContext): HTMLElement | undefined {
  const source = typeof value === 'string' ? `data:image/svg+xml;utf8,${encodeURIComponent(value)}` : undefined;
  return source === undefined ? undefined : imageElement(source, mime, output, context);
}

/** An image element: its content does not become part of the page. */
function imageElement(src: string, mime: string, output: Rich, context: RichContext): HTMLElement {
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
  return picture(element, context);
}

/** A frame for HTML. In that of HTML without scripts none can run. */
function html(value: unknown, _: string, __: Rich, context: RichContext): HTMLElement | undefined {
  if (typeof value !== 'string') {
    return undefined;
  }
  if (/<script/i.test(value)) {
    return live(value, context);
  }
  const clean = sanitise(value, window);
  if (clean === undefined) {
    return undefined;
  }
  // `allow-same-origin` lets the page measure the frame's text. Scripts would need `allow-scripts`.
  const frame = h('iframe', { sandbox: 'allow-same-origin', title: `Output of ${context.whose}` });
  frame.addEventListener('load', () => {
    const page = frame.contentDocument;
    if (page) {
      frame.style.height = `${Math.min(page.documentElement.offsetHeight, maxFrame)}px`;
    }
  });
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:`;
  frame.srcdoc = `<!DOCTYPE html><html lang="en"><head><meta http-equiv="Content-Security-Policy" content="${policy}"><style>${rootStyle(theme())}
${frameStyle}</style></head><body>${clean}</body></html>`;
  return frame;
}

const maxFrame = 600; // higher ones scroll

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
