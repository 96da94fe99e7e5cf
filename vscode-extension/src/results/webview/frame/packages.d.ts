/** What is used of plotly.js, whose package has no types. */
declare module 'plotly.js-strict-dist-min' {
  export function newPlot(element: HTMLElement, figure: object): Promise<HTMLElement>;
  export function toImage(element: HTMLElement, options: { format: 'png' | 'svg'; scale?: number }): Promise<string>;
  export const Plots: { resize(element: HTMLElement): void };
}
