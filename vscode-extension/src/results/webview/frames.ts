/**
 * Frames in which scripts of programs run. Each has an origin of its own: it reaches nothing of this page, of VS Code or of other frames, and the
 * network only if the user has allowed that.
 *
 * A frame obeys two policies. It inherits the page's, by which only scripts with the page's nonce run, and none is made from text. Its own, at the top of
 * its text, allows only scripts that stand in it: a script that knows the nonce still loads no other. The page's `frame-src` keeps it from going elsewhere.
 */
import { h } from './dom';
import {
  fromFrame,
  type FromFrame,
  type PictureFormat,
  type RendererName,
  type Theme,
  type ToFrame,
} from './frame/contract';
import frameStyle from './frame/style.css';

/** What the extension tells a page about frames. */
export interface FrameSettings {
  readonly nonce: string;
  /** The URL of the folder that has the renderers. */
  readonly renderers: string;
  /** Whether outputs may use the network. */
  readonly network: boolean;
}

export interface FrameOptions {
  /** For screen readers. */
  readonly title: string;
  /** As large as its place; otherwise as high as its content, up to a limit. */
  readonly fill: boolean;
  /** Called once if the output wants to load something and may not: from where. */
  readonly refused: (from: string) => void;
  readonly failed: (text: string) => void;
}

/** What is drawn in a frame by one of our renderers. */
interface Drawing {
  readonly renderer: RendererName;
  readonly mime: string;
  readonly value: unknown;
}

interface Known extends FrameOptions {
  readonly drawing: Drawing | undefined;
  readonly pictures: Map<PictureFormat, (url: string | undefined) => void>;
  told: boolean;
}

const maxHeight = 600; // higher ones scroll

export class Frames {
  private readonly texts = new Map<string, Promise<string>>();
  private readonly known = new WeakMap<HTMLIFrameElement, Known>();

  constructor(private readonly settings: FrameSettings) {
    window.addEventListener('message', ({ source, data }: MessageEvent<unknown>) => {
      const frame = [...document.querySelectorAll('iframe')].find(({ contentWindow }) => contentWindow === source);
      const known = frame && this.known.get(frame);
      const message = known && fromFrame(data);
      if (message) {
        this.take(frame, known, message);
      }
    });
  }

  /** A frame for HTML, with its scripts. */
  html(html: string, options: FrameOptions): HTMLIFrameElement {
    return this.frame(new DOMParser().parseFromString(html, 'text/html'), undefined, options);
  }

  /** A frame for what a renderer draws. */
  drawn(drawing: Drawing, options: FrameOptions): HTMLIFrameElement {
    return this.frame(document.implementation.createHTMLDocument(), drawing, options);
  }

  /** What a frame shows, as the data URL of a picture; undefined if it cannot be had. */
  picture(frame: HTMLIFrameElement, format: PictureFormat): Promise<string | undefined> {
    return new Promise((resolve) => {
      this.known.get(frame)?.pictures.set(format, resolve);
      send(frame, { type: 'draw', format });
    });
  }

  private frame(content: Document, drawing: Drawing | undefined, options: FrameOptions): HTMLIFrameElement {
    const frame = h('iframe', { sandbox: 'allow-scripts', title: options.title });
    this.known.set(frame, { ...options, drawing, pictures: new Map(), told: false });
    this.text('frame.js').then(
      (script) => {
        frame.srcdoc = this.page(content, script, options.fill);
      },
      () => {
        options.failed('a part of the extension cannot be loaded');
      },
    );
    return frame;
  }

  private page(content: Document, script: string, fill: boolean): string {
    const policy = content.createElement('meta');
    policy.httpEquiv = 'Content-Security-Policy';
    policy.content = framePolicy(this.settings.network);
    const ahead = content.createElement('meta');
    ahead.httpEquiv = 'x-dns-prefetch-control';
    ahead.content = this.settings.network ? 'on' : 'off';
    const style = content.createElement('style');
    style.textContent = `${rootStyle(theme())}\n${frameStyle}`;
    const first = content.createElement('script');
    first.textContent = script;
    content.head.prepend(policy, ahead, style, first);
    content.documentElement.classList.toggle('fill', fill);
    for (const element of content.querySelectorAll('script')) {
      element.setAttribute('nonce', this.settings.nonce);
    }
    return `<!DOCTYPE html>${content.documentElement.outerHTML}`;
  }

  private take(frame: HTMLIFrameElement, known: Known, message: FromFrame): void {
    switch (message.type) {
      case 'ready':
        if (known.drawing) {
          void this.show(frame, known, known.drawing);
        }
        break;
      case 'height':
        if (!known.fill) {
          frame.style.height = `${Math.min(message.height, maxHeight)}px`;
        }
        break;
      case 'refused':
        if (!known.told) {
          known.told = true;
          known.refused(message.from);
        }
        break;
      case 'failed':
        known.failed(message.text);
        break;
      case 'picture':
        known.pictures.get(message.format)?.(message.url);
        known.pictures.delete(message.format);
    }
  }

  private async show(frame: HTMLIFrameElement, { fill, failed }: Known, drawing: Drawing): Promise<void> {
    const { renderer } = drawing;
    try {
      const style = renderer === 'markdown' ? this.text('markdown.css') : '';
      const [script, css] = await Promise.all([this.text(`${renderer}.js`), style]);
      send(frame, { type: 'show', ...drawing, script, style: css, theme: theme(), fill });
    } catch {
      failed('a part of the extension cannot be loaded');
    }
  }

  /** A file of the renderers, which is read once. */
  private text(name: string): Promise<string> {
    let text = this.texts.get(name);
    if (!text) {
      text = fetch(`${this.settings.renderers}/${name}`).then((answer) => {
        if (!answer.ok) {
          throw new Error(`${name}: ${answer.status}`);
        }
        return answer.text();
      });
      text.catch(() => this.texts.delete(name));
      this.texts.set(name, text);
    }
    return text;
  }
}

function send(frame: HTMLIFrameElement, message: ToFrame): void {
  frame.contentWindow?.postMessage(message, '*'); // an origin of its own has no name
}

/** What a frame may load. */
function framePolicy(network: boolean): string {
  const from = network ? ' https:' : '';
  return [
    `default-src 'none'`,
    `script-src 'unsafe-inline'${from}`,
    `style-src 'unsafe-inline'${from}`,
    `img-src data: blob:${from}`,
    `media-src data: blob:${from}`,
    `font-src data:${from}`,
    `connect-src ${network ? 'https: wss:' : `'none'`}`,
    `form-action 'none'`,
    `base-uri 'none'`,
  ].join('; ');
}

/** The theme's colours and fonts, for a frame, which does not have the page's CSS variables. */
export function theme(): Theme {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string, otherwise: string): string => style.getPropertyValue(`--vscode-${name}`) || otherwise;
  return {
    foreground: of('foreground', 'CanvasText'),
    muted: of('descriptionForeground', 'GrayText'),
    border: of('panel-border', 'GrayText'),
    link: of('textLink-foreground', 'LinkText'),
    code: of('textCodeBlock-background', 'transparent'),
    font: of('font-family', 'sans-serif'),
    size: of('font-size', '13px'),
    mono: of('editor-font-family', 'monospace'),
  };
}

/** The variables of `frame/style.css`. */
export function rootStyle(values: Theme): string {
  return `:root { ${Object.entries(values)
    .map(([name, value]) => `--${name}: ${String(value)};`)
    .join(' ')} }`;
}
