// What the web UI of A1111 calls samplers, schedules and upscalers, where it is more than another spelling.

const samplerLabels: Record<string, string> = {
  ...{ ddim: 'DDIM', ddpm: 'DDPM', pndm: 'PLMS', lms: 'LMS', euler: 'Euler', heun: 'Heun', kdpm2: 'DPM2' },
  ...{ 'euler-ancestral': 'Euler a', 'kdpm2-ancestral': 'DPM2 a', unipc: 'UniPC', lcm: 'LCM', tcd: 'TCD' },
  ...{ deis: 'DEIS', 'dpm-solver-2': 'DPM-Solver' },
};

const scheduleLabels: Record<string, string> = {
  ...{ default: 'Automatic', karras: 'Karras', exponential: 'Exponential', beta: 'Beta' },
  ...{ ays: 'Align Your Steps', 'sgm-uniform': 'SGM Uniform' },
};

interface Name {
  name: string;
  aliases: readonly string[];
}

export const samplerLabel = ({ name, aliases }: Name) => samplerLabels[name] ?? aliases[0] ?? name;

export const scheduleLabel = ({ name, aliases }: Name) => scheduleLabels[name] ?? aliases[0] ?? name;

/** The latents' upscalers there, and the one of pictures that is here. */
export const latentUpscalers: Record<string, string> = {
  Latent: 'latent',
  'Latent (bicubic)': 'latent-bicubic',
  'Latent (nearest)': 'latent-nearest',
  'Latent (nearest-exact)': 'latent-nearest-exact',
};

export const upscalers: Record<string, string> = { ...latentUpscalers, Lanczos: 'pixel', None: 'pixel' };
