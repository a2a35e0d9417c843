/** Entry of a thread of the unit pool. */
import { serveThread } from './platform.ts';
import type { UnitReply, UnitRequest } from './unit-pool.ts';
import { storeUnits } from './units.ts';

serveThread((message): UnitReply => {
  const request = message as UnitRequest;
  try {
    return { id: request.id, result: storeUnits(request) };
  } catch (error) {
    return { id: request.id, error: String(error) };
  }
});
