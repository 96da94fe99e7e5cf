/** Figures of plotly. */
import { newPlot, Plots, toImage } from 'plotly.js-strict-dist-min';

interface Figure {
  readonly data?: readonly object[];
  readonly layout?: Readonly<Record<string, unknown>>;
  readonly config?: object;
  readonly frames?: readonly object[];
}

globalThis.dipRenderer = async (value, element, { fill }) => {
  const { data = [], layout = {}, config = {}, frames } = value as Figure;
  const place = element.appendChild(document.createElement('div'));
  place.style.height = fill ? '100%' : `${Number(layout['height'] ?? 360)}px`;
  await newPlot(place, {
    data,
    layout: fill ? { ...layout, width: undefined, height: undefined, autosize: true } : { autosize: true, ...layout },
    config: { ...config, responsive: true, displaylogo: false },
    frames,
  });
  new ResizeObserver(() => {
    Plots.resize(place);
  }).observe(place);
  const picture = (format: 'png' | 'svg') => (): Promise<string> => toImage(place, { format, scale: 2 });
  return { png: picture('png'), svg: picture('svg') };
};
