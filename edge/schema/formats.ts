import type { ImageFormat } from '../../proto/gen/latentedge/v1/ImageFormat.ts';

export type OutputFormat = 'png' | 'jpeg' | 'webp';

const formats = {
  png: 'IMAGE_FORMAT_PNG',
  jpeg: 'IMAGE_FORMAT_JPEG',
  webp: 'IMAGE_FORMAT_WEBP',
} as const satisfies Record<OutputFormat, ImageFormat>;

export const toImageFormat = (format: OutputFormat): ImageFormat => formats[format];

export function toOutputFormat(format: ImageFormat | number): OutputFormat {
  return (Object.keys(formats) as OutputFormat[]).find((name) => formats[name] === format) ?? 'png';
}
