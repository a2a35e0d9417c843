import type { Vector } from './lib/vector.ts';
export const sealVectors = (): Vector[] => [];
