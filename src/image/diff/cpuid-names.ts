/**
 * Names of the bits of CPUID's feature registers and of MSRs, as Intel's (SDM volume 2A, CPUID; volume 4) and AMD's
 * manuals (APM volume 3, appendix E) have them, in the spelling that Linux shows in /proc/cpuinfo where there is one.
 */

/** `LEAF:SUBLEAF:REGISTER`, hexadecimal; subleaf 0 where a leaf has none. */
type RegisterKey = string;

function bits(names: string): readonly (string | null)[] {
  return names
    .trim()
    .split(/\s+/)
    .map((name) => (name === '-' ? null : name));
}

/** From bit 0 on. `-`: reserved, or no feature. */
const NAMES: Readonly<Record<RegisterKey, readonly (string | null)[]>> = {
  '1:0:edx': bits(`
    fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov
    pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe`),
  '1:0:ecx': bits(`
    sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm
    - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor`),
  '7:0:ebx': bits(`
    fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a
    avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni
    avx512bw avx512vl`),
  '7:0:ecx': bits(`
    prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 cet_ss gfni vaes vpclmulqdq avx512_vnni avx512_bitalg
    tme avx512_vpopcntdq - la57 - - - - - rdpid kl bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks`),
  '7:0:edx': bits(`
    - sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort -
    rtm_force_abort serialize hybrid_cpu tsxldtrk - pconfig arch_lbr cet_ibt - amx_bf16 avx512_fp16 amx_tile amx_int8
    ibrsb stibp l1d_flush arch_capabilities core_capabilities ssbd`),
  '7:1:eax': bits(`
    sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext - fzrm fsrs fsrc - - - -
    fred lkgs wrmsrns nmi_src amx_fp16 hreset avx_ifma - - lam msrlist - - - -`),
  '7:1:edx': bits(`
    - - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - prefetchi - - uiret_uif cet_sss`),
  '7:2:edx': bits('intel_psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no uc_lock_disable monitor_mitg_no'),
  'd:1:eax': bits('xsaveopt xsavec xgetbv1 xsaves xfd'),
  '80000001:0:edx': bits(`
    fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov
    pat pse36 - mp nx - mmxext mmx fxsr fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow`),
  '80000001:0:ecx': bits(`
    lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp
    fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx addr_mask_ext -`),
  '80000007:0:edx': bits('ts fid vid ttp tm stc 100mhzsteps hwpstate constant_tsc cpb efro'),
  '80000008:0:ebx': bits(`
    clzero irperf xsaveerptr - rdpru - - - mcommit wbnoinvd - - ibpb - ibrs stibp
    ibrs_always stibp_always ibrs_fast ibrs_same_mode no_lmsl - - ppin amd_ssbd virt_ssbd ssb_no cppc amd_psfd btc_no
    ibpb_ret -`),
  '80000021:0:eax': bits(`
    nested_data_breakpoints fs_gs_non_serializing lfence_always_serializing smm_page_config_lock - -
    null_sel_clears_base
    upper_address_ignore auto_ibrs no_smm_ctl_msr fsrs fsrc - prefetch_ctl_msr - - -
    cpuid_user_dis epsf - - - - - - - - sbpb ibpb_brtype srso_no srso_user_kernel_no srso_msr_fix`),
};

/** Registers whose every bit is a feature: what a guest was shown of these it may use. */
export function featureNames(
  leaf: number,
  subleaf: number,
  register: 'eax' | 'ebx' | 'ecx' | 'edx',
): readonly (string | null)[] | undefined {
  return NAMES[`${leaf.toString(16)}:${(subleaf === 0xffff_ffff ? 0 : subleaf).toString(16)}:${register}`];
}

const MSR_NAMES: ReadonlyMap<number, string> = new Map([
  [0x10, 'TSC'],
  [0x1b, 'APIC_BASE'],
  [0x3a, 'FEATURE_CONTROL'],
  [0xce, 'PLATFORM_INFO'],
  [0x10a, 'ARCH_CAPABILITIES'],
  [0x140, 'MISC_FEATURES_ENABLES'],
  [0x174, 'SYSENTER_CS'],
  [0x175, 'SYSENTER_ESP'],
  [0x176, 'SYSENTER_EIP'],
  [0x1a0, 'MISC_ENABLE'],
  [0x277, 'PAT'],
  [0xda0, 'XSS'],
  [0xc000_0080, 'EFER'],
  [0xc000_0081, 'STAR'],
  [0xc000_0082, 'LSTAR'],
  [0xc000_0083, 'CSTAR'],
  [0xc000_0084, 'SFMASK'],
  [0xc000_0100, 'FS_BASE'],
  [0xc000_0101, 'GS_BASE'],
  [0xc000_0102, 'KERNEL_GS_BASE'],
  [0xc000_0103, 'TSC_AUX'],
]);

export function msrName(index: number): string | null {
  return MSR_NAMES.get(index) ?? null;
}

/** Bits of ARCH_CAPABILITIES, from bit 0 on (Intel SDM volume 4, IA32_ARCH_CAPABILITIES). */
export const ARCH_CAPABILITIES: readonly (string | null)[] = bits(`
  rdcl_no ibrs_all rsba skip_l1dfl_vmentry ssb_no mds_no if_pschange_mc_no tsx_ctrl taa_no mcu_control misc_package_ctls
  energy_filtering doitm sbdr_ssdp_no fbsdp_no psdp_no mcu_enum fb_clear fb_clear_ctrl rrsba bhi_no xapic_disable - -
  pbrsb_no gds_ctrl gds_no rfds_no rfds_clear`);
