/**
 * Runs first in each frame of programs' output, which has an origin of its own: it shows what the page asks for, and tells the page how high that is
 * and what was not loaded.
 */
import type { Drawn, FromFrame, PictureFormat, Renderer, ToFrame } from './contract';

declare global {
  /** Where the script of a renderer leaves it. */
  var dipRenderer: Renderer | undefined;
}

const nonce = document.currentScript?.nonce ?? '';
let drawn: Promise<Drawn | undefined> = Promise.resolve(undefined);

// The policy of a page does not know them, and they reach the network.
for (const name of ['RTCPeerConnection', 'webkitRTCPeerConnection', 'WebTransport']) {
  Reflect.deleteProperty(window, name);
}

function tell(message: FromFrame): void {
  parent.postMessage(message, '*');
}

function failed(error: unknown): void {
  tell({ type: 'failed', text: error instanceof Error ? error.message : String(error) });
}

/** Scripts that scripts make are as welcome as those of the output itself. */
function welcomeScripts(): void {
  const proto = Document.prototype;
  const create = Reflect.get(proto, 'createElement') as (this: Document, ...how: unknown[]) => HTMLElement;
  Reflect.set(proto, 'createElement', function (this: Document, ...how: unknown[]) {
    const element = create.apply(this, how);
    if (element instanceof HTMLScriptElement) {
      element.nonce = nonce;
    }
    return element;
  });
}

function insert(script: string, style: string): void {
  const styles = document.createElement('style');
  styles.textContent = style;
  const code = document.createElement('script');
  code.textContent = script;
  document.head.append(styles, code);
}

async function show(message: Extract<ToFrame, { type: 'show' }>): Promise<Drawn | undefined> {
  insert(message.script, message.style);
  const { mime, theme, fill } = message;
  document.documentElement.classList.toggle('fill', fill);
  return globalThis.dipRenderer?.(message.value, document.body, { mime, theme, fill });
}

async function draw(format: PictureFormat): Promise<void> {
  const url = await drawn.then((pictures) => pictures?.[format]() ?? found(format)).catch(() => undefined);
  tell({ type: 'picture', format, ...(url !== undefined && { url }) });
}

/** The largest picture in the output, if it is of the format. */
function found(format: PictureFormat): string | undefined {
  if (format === 'png') {
    return largest(document.querySelectorAll('canvas'))?.toDataURL('image/png');
  }
  const image = largest(document.querySelectorAll('svg'));
  return image && svgUrl(new XMLSerializer().serializeToString(image));
}

function largest<E extends Element>(elements: Iterable<E>): E | undefined {
  const size = (element: E): number => element.clientWidth * element.clientHeight;
  return [...elements].sort((a, b) => size(b) - size(a))[0];
}

function svgUrl(text: string): string {
  return `data:image/svg+xml;utf8,${encodeURIComponent(text)}`;
}

welcomeScripts();
addEventListener('message', ({ data, source }: MessageEvent<ToFrame>) => {
  if (source !== parent) {
    return;
  }
  if (data.type === 'show') {
    drawn = show(data);
    drawn.catch(failed);
  } else {
    void draw(data.format);
  }
});
addEventListener('securitypolicyviolation', (event) => {
  tell({ type: 'refused', from: event.blockedURI });
});
addEventListener('error', (event) => {
  failed(event.error ?? event.message);
});
addEventListener('unhandledrejection', (event) => {
  failed(event.reason);
});
new ResizeObserver(() => {
  tell({ type: 'height', height: document.documentElement.offsetHeight });
}).observe(document.documentElement);
tell({ type: 'ready' });
