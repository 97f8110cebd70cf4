import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';

/** The text of a published model's config.json: `unet-sd15`, `vae-sd`, `clip-vit-l`, … */
export function configJson(name: string): Record<string, unknown> {
  return JSON.parse(
    readFileSync(fileURLToPath(new URL(`../fixtures/configs/${name}.json`, import.meta.url)), 'utf8'),
  );
}

/** That config, as its model reads it. */
export function config<T extends z.ZodType>(schema: T, name: string): z.output<T> {
  return parseConfig(schema, configJson(name), `${name}.json`);
}
