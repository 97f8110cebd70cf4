import type { z } from 'zod';
import type { modelObject } from '../../schema/common.ts';
import type { generationBody } from '../../schema/generation.ts';
import type { Effective } from '../../schema/replies.ts';

/** A body of POST /v1/images/generations. */
export type Body = z.input<typeof generationBody>;
export type Model = z.output<typeof modelObject>;
export type { Effective };

/** Of GET /v1/names, what is used here. */
export interface Names {
  samplers: { name: string }[];
  schedules: { name: string }[];
  preprocessors: { name: string; what: string }[];
  loras: string[];
  hires_upscalers: string[];
}

/** One of a stream's events, without the first part of its name. */
export type StreamEvent =
  | { type: 'progress'; step: number; total: number; step_ms: number }
  | { type: 'partial_image'; image_index: number; b64_json: string; output_format: string }
  | {
      type: 'completed';
      image_index: number;
      b64_json: string;
      output_format: string;
      effective: Effective;
    };

/** A request that has been answered, as the history keeps it. */
export interface Made {
  id?: number;
  /** Milliseconds since 1970. */
  created: number;
  /** What was sent. */
  body: Body;
  /** What was run. */
  effective: Effective;
  images: Blob[];
  /** From the button to the picture. */
  ms: number;
}
