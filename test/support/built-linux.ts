/** Linux for tests that want one, where it can be built. */
import { buildLinux, LinuxUnavailable, type LinuxGuest } from '../../guests/linux/build.ts';

/** Builds it; or says, aloud too, why it can't be built here: that is what such a test is skipped with. */
export function builtLinux(): { readonly guest?: LinuxGuest; readonly unavailable: string | false } {
  try {
    return { guest: buildLinux(), unavailable: false };
  } catch (error) {
    if (!(error instanceof LinuxUnavailable)) throw error;
    const unavailable = `Linux can't be built here: ${error.message}`;
    console.log(`# ${unavailable}`);
    return { unavailable };
  }
}
