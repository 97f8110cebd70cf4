import type { WeightSource } from '../../native.ts';

/** A part of a single file, as its folder in diffusers layout would say it. */
export interface FilePart {
  className: string;
  /** What config.json would hold, as far as shapes and lineage tell. */
  config: Record<string, unknown>;
  /** Under the names of the models. */
  sources: WeightSource[];
}

/** The models that were published as single files: CompVis' and Stability's, by their original code. */
export type Lineage = 'sd1' | 'sd2' | 'sdxl' | 'sdxl-refiner';
