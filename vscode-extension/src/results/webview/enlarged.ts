/** The page of one output: zoomed, panned, copied and saved as a picture. */
import type { FromEnlarged, ToEnlarged } from '../messages';
import { isToEnlarged } from '../messages';
import { button, h } from './dom';
import type { PictureFormat } from './frame/contract';
import { Frames } from './frames';
import { richElement } from './rich';
import { settingsOf } from './settings';

declare function acquireVsCodeApi(): { postMessage(message: FromEnlarged): void };

const vscode = acquireVsCodeApi();
const step = 1.25;

class Enlarged {
  private readonly frames = new Frames(settingsOf(document.currentScript));
  private readonly place = h('main', { class: 'place', tabindex: '0', 'aria-label': 'Output' });
  private readonly percent = h('span', { class: 'percent', 'aria-live': 'polite' });
  private scale = 1;
  private content: HTMLElement | undefined;

  constructor() {
    const action = (label: string, sign: string, click: () => void): HTMLElement => button(label, sign, click);
    document.body.classList.add('enlarged');
    document.body.append(
      h(
        'div',
        { class: 'toolbar', role: 'toolbar', 'aria-label': 'Output' },
        action('Zoom out (-)', '−', () => {
          this.zoom(this.scale / step);
        }),
        this.percent,
        action('Zoom in (+)', '+', () => {
          this.zoom(this.scale * step);
        }),
        action('Fit into the editor (0)', 'Fit', () => {
          this.zoom(1);
        }),
        action('Copy as a picture (PNG)', 'Copy', () => void this.copy()),
        action('Save as PNG', 'Save PNG', () => void this.save('png')),
        action('Save as SVG', 'Save SVG', () => void this.save('svg')),
      ),
      this.place,
    );
    window.addEventListener('message', ({ data, origin }: MessageEvent<unknown>) => {
      if (origin === window.origin && isToEnlarged(data)) {
        this.show(data);
      }
    });
    document.addEventListener('keydown', ({ key, ctrlKey, metaKey, altKey }) => {
      const to = { '+': this.scale * step, '=': this.scale * step, '-': this.scale / step, '0': 1 }[key];
      if (to !== undefined && !ctrlKey && !metaKey && !altKey) {
        this.zoom(to);
      }
    });
    this.place.addEventListener(
      'wheel',
      (event) => {
        if (event.ctrlKey || event.metaKey) {
          event.preventDefault();
          this.zoom(this.scale * Math.exp(-event.deltaY / 300), event);
        }
      },
      { passive: false },
    );
    this.pan();
    new ResizeObserver(() => {
      this.zoom(this.scale);
    }).observe(this.place);
    vscode.postMessage({ type: 'ready' });
  }

  private show({ output, whose }: ToEnlarged): void {
    this.content = richElement(output, {
      frames: this.frames,
      whose,
      fill: true,
      text: (text) => h('pre', {}, text),
      save: () => void this.save('png'),
      allow: () => {
        vscode.postMessage({ type: 'network' });
      },
    });
    this.content.classList.add('large');
    this.place.replaceChildren(this.content);
    for (const image of this.content.querySelectorAll('img')) {
      image.draggable = false;
      image.removeAttribute('width');
      image.removeAttribute('height');
    }
    this.zoom(1);
  }

  /** Makes the output so many times as large as the editor, keeping what is in the middle, or at a pointer, in its place. */
  private zoom(scale: number, at?: { readonly clientX: number; readonly clientY: number }): void {
    const { place, content } = this;
    const before = this.scale;
    this.scale = Math.min(16, Math.max(0.25, scale));
    this.percent.textContent = `${Math.round(this.scale * 100)} %`;
    if (!content) {
      return;
    }
    const box = place.getBoundingClientRect();
    const x = at ? at.clientX - box.left : box.width / 2;
    const y = at ? at.clientY - box.top : box.height / 2;
    const left = place.scrollLeft + x;
    const top = place.scrollTop + y;
    content.style.width = `${place.clientWidth * this.scale}px`;
    content.style.height = `${place.clientHeight * this.scale}px`;
    place.scrollLeft = (left * this.scale) / before - x;
    place.scrollTop = (top * this.scale) / before - y;
  }

  /** Moves the output with the pointer. The arrow keys scroll anyway. */
  private pan(): void {
    const { place } = this;
    place.addEventListener('pointerdown', ({ button, pointerId }) => {
      if (button === 0) {
        place.setPointerCapture(pointerId);
      }
    });
    place.addEventListener('pointermove', ({ pointerId, movementX, movementY }) => {
      if (place.hasPointerCapture(pointerId)) {
        place.scrollBy(-movementX, -movementY);
      }
    });
  }

  /** What is shown, as the data URL of a picture. */
  private async picture(format: PictureFormat): Promise<string | undefined> {
    const frame = this.content?.querySelector('iframe');
    if (frame) {
      return this.frames.picture(frame, format);
    }
    const image = this.content?.querySelector('img');
    if (image && image.src.startsWith('data:image/svg')) {
      return format === 'svg' ? image.src : drawn(image);
    }
    return image && format === 'png' ? drawn(image) : undefined;
  }

  private async copy(): Promise<void> {
    try {
      const url = await this.picture('png');
      if (url === undefined) {
        this.tell('This output cannot be copied as a picture');
        return;
      }
      const blob = new Blob([bytesOf(url)], { type: 'image/png' });
      await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
      this.tell('Copied as a picture');
    } catch (error) {
      this.tell(`It cannot be copied: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  private async save(format: PictureFormat): Promise<void> {
    const url = await this.picture(format).catch(() => undefined);
    if (url === undefined) {
      this.tell(`There is no ${format.toUpperCase()} of this output`);
      return;
    }
    vscode.postMessage({ type: 'save', extension: format, content: bytesOf(url) });
  }

  private tell(text: string): void {
    vscode.postMessage({ type: 'tell', text });
  }
}

/** An image as a PNG, in its own size; a drawing in twice that. */
async function drawn(image: HTMLImageElement): Promise<string> {
  await image.decode();
  const scale = image.src.startsWith('data:image/svg') ? 2 : 1;
  const canvas = h('canvas');
  canvas.width = image.naturalWidth * scale;
  canvas.height = image.naturalHeight * scale;
  canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/png');
}

/** The content of a data URL. */
function bytesOf(url: string): Uint8Array<ArrayBuffer> {
  const [head = '', content = ''] = url.split(/,(.*)/s);
  return head.endsWith(';base64')
    ? Uint8Array.from(atob(content), (character) => character.charCodeAt(0))
    : new TextEncoder().encode(decodeURIComponent(content));
}

new Enlarged();
