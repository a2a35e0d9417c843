/** How the Linux guest is started, and what it says. */

/** What init.sh prints when its shell on COM1 is there. */
export const LINUX_READY = 'guest-ready ';

/** Kernel arguments. Each of them takes seconds of an emulator's time away, or makes the guest quiet and repeatable. */
export const LINUX_ARGUMENTS = [
  'console=ttyS0',
  // The counter is v86's clock; comparing it with the timer takes a second, and may end in distrust.
  'tsc=reliable',
  'mitigations=off',
  'random.trust_cpu=on',
  'nomodeset',
  'cryptomgr.notests',
  'noisapnp',
  'initcall_blacklist=load_system_certificate_list,init_kprobe_trace',
  // What is swapped out shall reach the disk.
  'zswap.enabled=0',
  'panic=1',
  'quiet',
] as const;

/** The command line; with `disk`, init loads the drivers of the IDE disk. */
export function linuxCommandLine({ disk = false, more = '' }: { disk?: boolean; more?: string } = {}): string {
  return [...LINUX_ARGUMENTS, ...(disk ? ['disk=1'] : []), ...(more === '' ? [] : [more])].join(' ');
}
