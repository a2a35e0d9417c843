/** The word that is most like another, when one is like enough that it may have been meant. */
export function nearestOf(word: string, known: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let least = Infinity;
  for (const candidate of known) {
    const distance = editsBetween(word.toLowerCase(), candidate);
    // More than two edits in five letters make another word.
    if (distance < least && distance <= 0.4 * Math.max(word.length, candidate.length)) {
      nearest = candidate;
      least = distance;
    }
  }
  return nearest;
}

/** Letters to add, remove, replace or swap with their neighbour to make one word the other. */
function editsBetween(from: string, to: string): number {
  // Of a word that is much longer nobody meant a short one, and a long argument costs no time.
  if (from.length > 2 * to.length + 2) return Infinity;
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      if (swapped) row[j] = Math.min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above[to.length];
}
