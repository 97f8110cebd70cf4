import type { Plan } from '../graph/plan.ts';
import { plan } from '../graph/planner.ts';
import type { AutoencoderShape } from './autoencoder.ts';
import { type ClipTextConfig, type TextShape, traceTextEncoder, traceTextEncoderXL } from './clip.ts';
import { type HintShape, traceControlContext, traceControlNet, traceHint } from './controlnet.ts';
import type { ControlNetConfig } from './controlnet-config.ts';
import { type TaesdConfig, traceTaesdDecode, traceTaesdEncode } from './taesd.ts';
import { traceContext, traceUNet } from './unet.ts';
import type { UNetConfig } from './unet-config.ts';
import type { ContextShape, UNetShape } from './unet-context.ts';
import {
  traceUnconditionalUNet,
  type UnconditionalConfig,
  type UnconditionalShape,
} from './unet-unconditional.ts';
import { traceVaeDecode, traceVaeEncode, type VaeConfig } from './vae.ts';
import { traceVqDecode, traceVqEncode, type VqConfig } from './vq.ts';

// Plans of a checkpoint's parts, as the engine and `module` run them. Borders are float32, [B,C,H,W] or [B,T,C].

/** input_ids i32 [B,T] → last_hidden_state [B,T,C]; without clipSkip penultimate [B,T,C], and text_embeds [B,T,P] of a model with a projection. */
export function planTextEncoder(part: { text_encoder: { config: ClipTextConfig } }, shape: TextShape): Plan {
  return plan(traceTextEncoder(part.text_encoder.config, shape));
}

/** input_ids i32 [B,T] → hidden_states [B,T,C], and text_embeds [B,T,P] of a model with a projection. */
export function planTextEncoderXL(
  part: { text_encoder: { config: ClipTextConfig } },
  shape: TextShape,
): Plan {
  return plan(traceTextEncoderXL(part.text_encoder.config, shape));
}

/**
 * encoder_hidden_states [B,S,D] → kv.0, kv.1, … [B,S,2C], by the U-Net's parameters; in Stable Diffusion XL also
 * text_embeds [B,P], time_ids [B,timeIds] → add_embedding [B,E].
 */
export function planContext(part: { unet: { config: UNetConfig } }, shape: ContextShape): Plan {
  return plan(traceContext(part.unet.config, shape));
}

/**
 * sample [B,C,h,w], timestep [B], the outputs of `planContext` → sample [B,C,h,w].
 * @param controls ControlNets of the same plan: of the i-th, the outputs of `planHint` and `planControlContext`, and
 * scales [R,B] are inputs named `control.i.…`, its parameters likewise.
 */
export function planUNet(
  part: { unet: { config: UNetConfig } },
  shape: UNetShape,
  controls: readonly { config: ControlNetConfig }[] = [],
): Plan {
  return plan(
    traceUNet(
      part.unet.config,
      shape,
      controls.map(({ config }) => config),
    ),
  );
}

/** controlnet_cond [B,3,H,W], in 0…1 → hint [B,h,w,C] at the size of the latents. */
export function planHint(part: { controlnet: { config: ControlNetConfig } }, shape: HintShape): Plan {
  return plan(traceHint(part.controlnet.config, shape));
}

/** encoder_hidden_states, in Stable Diffusion XL text_embeds and time_ids → kv.*, add_embedding of a ControlNet. */
export function planControlContext(
  part: { controlnet: { config: ControlNetConfig } },
  shape: ContextShape,
): Plan {
  return plan(traceControlContext(part.controlnet.config, shape));
}

/** sample [B,C,h,w], timestep [B], hint, scales [R,B], outputs of `planControlContext` → down.0, …, mid [B,C,h,w]. */
export function planControlNet(part: { controlnet: { config: ControlNetConfig } }, shape: UNetShape): Plan {
  return plan(traceControlNet(part.controlnet.config, shape));
}

/** image [B,3,H,W] → mean, logvar [B,C,h,w]. */
export function planVaeEncode(part: { vae: { config: VaeConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceVaeEncode(part.vae.config, shape));
}

/** latents [B,C,h,w] → image [B,3,H,W]. */
export function planVaeDecode(part: { vae: { config: VaeConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceVaeDecode(part.vae.config, shape));
}

/** sample [B,C,h,w], timestep [B] → sample [B,C,h,w], of a model without a prompt. */
export function planUnconditionalUNet(
  part: { unet: { config: UnconditionalConfig } },
  shape: UnconditionalShape,
): Plan {
  return plan(traceUnconditionalUNet(part.unet.config, shape));
}

/** image [B,3,H,W] → latents [B,C,h,w], not quantised. */
export function planVqEncode(part: { vqvae: { config: VqConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceVqEncode(part.vqvae.config, shape));
}

/** latents [B,C,h,w] → image [B,3,H,W]. */
export function planVqDecode(part: { vqvae: { config: VqConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceVqDecode(part.vqvae.config, shape));
}

/** image [B,3,H,W] → latents [B,C,h,w]. */
export function planTaesdEncode(part: { taesd: { config: TaesdConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceTaesdEncode(part.taesd.config, shape));
}

/** latents [B,C,h,w] → image [B,3,H,W]. */
export function planTaesdDecode(part: { taesd: { config: TaesdConfig } }, shape: AutoencoderShape): Plan {
  return plan(traceTaesdDecode(part.taesd.config, shape));
}
