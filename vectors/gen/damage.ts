import type { Vector } from './lib/vector.ts';
export const damageVectors = (): Vector[] => [];
