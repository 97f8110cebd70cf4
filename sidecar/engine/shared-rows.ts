import type { Row } from './denoiser.ts';

/** Rows of a batch in an order in which those of one image and step lie side by side, as many for each. */
export interface SharedRows {
  order: readonly number[];
  /** Rows of each image: what comes before the first text is computed once for them. */
  texts: number;
}

/** Which rows have all but their texts in common; where not all images have as many, each row is by itself. */
export function sharedRows(rows: readonly Row[]): SharedRows {
  const images: number[][] = [];
  for (const [i, row] of rows.entries()) {
    const image = images.find(([first]) => isSameImage(rows[first!]!, row));
    if (image) image.push(i);
    else images.push([i]);
  }
  const texts = images[0]?.length ?? 1;
  if (images.every(({ length }) => length === texts)) return { order: images.flat(), texts };
  return { order: [...rows.keys()], texts: 1 };
}

function isSameImage(a: Row, b: Row): boolean {
  return (
    a.sample === b.sample &&
    a.timestep === b.timestep &&
    a.controls.every(({ hint }, i) => hint === b.controls[i]!.hint)
  );
}
