import {
  planTaesdDecode,
  planTaesdEncode,
  planVaeDecode,
  planVaeEncode,
  planVqDecode,
} from '../../models/components.ts';
import { evaluate, type Module, openOne, pixels } from './run.ts';

/** image [B,3,H,W], in −1…1 → mean, logvar [B,C,h,w] of the posterior; logvar clamped to −30…20 as the reference does */
export const vaeEncode: Module = async (device, path, inputs) => {
  const vae = await openOne(path, 'vae');
  const { data: image, ...shape } = pixels(inputs, 'image', vae.config.in_channels);
  const out = await evaluate(device, vae.sources, planVaeEncode({ vae }, shape), { image });
  const logvar = out.get('logvar')!;
  const data = (logvar.data as Float32Array).map((v) => Math.min(20, Math.max(-30, v)));
  return out.set('logvar', { ...logvar, data });
};

/** latents [B,C,h,w], without any scaling → image [B,3,H,W], about −1…1 */
export const vaeDecode: Module = async (device, path, inputs) => {
  const vae = await openOne(path, 'vae');
  const { data: latents, ...shape } = pixels(inputs, 'latents', vae.config.latent_channels);
  return evaluate(device, vae.sources, planVaeDecode({ vae }, shape), { latents });
};

/** image [B,3,H,W], in −1…1 → latents [B,C,h,w] */
export const taesdEncode: Module = async (device, path, inputs) => {
  const taesd = await openOne(path, 'taesd');
  const { data: image, ...shape } = pixels(inputs, 'image', taesd.config.in_channels);
  return evaluate(device, taesd.sources, planTaesdEncode({ taesd }, shape), { image });
};

/** latents [B,C,h,w], as the U-Net has them → image [B,3,H,W], about −1…1 */
export const taesdDecode: Module = async (device, path, inputs) => {
  const taesd = await openOne(path, 'taesd');
  const { data: latents, ...shape } = pixels(inputs, 'latents', taesd.config.latent_channels);
  return evaluate(device, taesd.sources, planTaesdDecode({ taesd }, shape), { latents });
};

/** latents [B,C,h,w], without any scaling, each replaced by the nearest row of the codebook → image [B,3,H,W] */
export const vqDecode: Module = async (device, path, inputs) => {
  const vqvae = await openOne(path, 'vqvae');
  const { data: latents, ...shape } = pixels(inputs, 'latents', vqvae.config.vq_embed_dim);
  return evaluate(device, vqvae.sources, planVqDecode({ vqvae }, shape), { latents });
};
