import type { Vector } from './lib/vector.ts';
export const indexVectors = (): Vector[] => [];
