/** What a page and the frames of programs' output in it say to each other. */

/** The files of `dist/renderers` that draw something in a frame. */
export const rendererNames = ['markdown', 'plotly', 'vega'] as const;

export type RendererName = (typeof rendererNames)[number];

/** The theme's colours and fonts, which a frame cannot see: CSS values. */
export interface Theme {
  readonly foreground: string;
  readonly muted: string;
  readonly border: string;
  readonly link: string;
  readonly code: string;
  readonly font: string;
  readonly size: string;
  readonly mono: string;
}

export type ToFrame =
  /** Sent once, after `ready`: the renderer as text, and what it shall draw. */
  | {
      readonly type: 'show';
      readonly renderer: RendererName;
      readonly script: string;
      readonly style: string;
      readonly mime: string;
      readonly value: unknown;
      readonly theme: Theme;
      /** Draw as large as the frame is; otherwise as large as the output says. */
      readonly fill: boolean;
    }
  /** Asks for what is drawn, as a picture. */
  | { readonly type: 'draw'; readonly format: PictureFormat };

export type PictureFormat = 'png' | 'svg';

export type FromFrame =
  | { readonly type: 'ready' }
  /** How high the output is, in pixels. */
  | { readonly type: 'height'; readonly height: number }
  /** Something was not loaded: from where. */
  | { readonly type: 'refused'; readonly from: string }
  | { readonly type: 'failed'; readonly text: string }
  /** The answer to `draw`: a data URL, none if there is no such picture. */
  | { readonly type: 'picture'; readonly format: PictureFormat; readonly url?: string };

/** A message of a frame, if it is a valid one: whatever runs in a frame can send anything. */
export function fromFrame(message: unknown): FromFrame | undefined {
  const { type, height, from, text, format, url } = (
    typeof message === 'object' && message !== null ? message : {}
  ) as Readonly<Record<string, unknown>>;
  switch (type) {
    case 'ready':
      return { type };
    case 'height':
      return typeof height === 'number' && height >= 0 && height < Infinity ? { type, height } : undefined;
    case 'refused':
      return typeof from === 'string' ? { type, from: from.slice(0, 200) } : undefined;
    case 'failed':
      return typeof text === 'string' ? { type, text: text.slice(0, 2000) } : undefined;
    case 'picture':
      if ((format !== 'png' && format !== 'svg') || (url !== undefined && !isPicture(url))) {
        return undefined;
      }
      return { type, format, ...(url !== undefined && { url }) };
    default:
      return undefined;
  }
}

function isPicture(url: unknown): url is string {
  return typeof url === 'string' && /^data:image\/(png|svg\+xml)[;,]/.test(url);
}

/** Draws a value of a MIME type into an element. What it returns makes pictures of it, as data URLs. */
export type Renderer = (
  value: unknown,
  element: HTMLElement,
  context: { readonly mime: string; readonly theme: Theme; readonly fill: boolean },
) => Promise<Drawn | undefined>;

export type Drawn = Readonly<Record<PictureFormat, () => Promise<string>>>;
