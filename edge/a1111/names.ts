// What the web UI of A1111 calls models, samplers, schedules and upscalers.

interface Name {
  name: string;
  aliases: readonly string[];
}

/** The first of a sampler's or schedule's other spellings is that UI's. */
export const labelOf = ({ name, aliases }: Name) => aliases[0] ?? name;

/** A model's name of its title there, `NAME [HASH]`. */
export const withoutHash = (title: string): string => title.replace(/ \[[0-9a-f]+\]$/i, '');

/** The latents' upscalers there, and the one of pictures that is here. */
export const latentUpscalers: Record<string, string> = {
  Latent: 'latent',
  'Latent (bicubic)': 'latent-bicubic',
  'Latent (nearest)': 'latent-nearest',
  'Latent (nearest-exact)': 'latent-nearest-exact',
};

export const upscalers: Record<string, string> = { ...latentUpscalers, Lanczos: 'pixel', None: 'pixel' };
