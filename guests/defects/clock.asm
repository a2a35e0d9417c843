; Reads every clock at each tick: the time of day of the RTC, the time stamp counter, and the power management timer
; of ACPI where there is one. Counts how often a counter went back. Keeps the time as operating systems do, by the RTC
; at the start and the time stamp counter since, and says how many seconds that is behind the RTC.
; nasm -f bin clock.asm -o clock.bin

%include "common.asm"

rounds   equ DATA + 4
rtc      equ DATA + 8                           ; seconds of the day
stamp    equ DATA + 12                          ; 8 bytes
tsc_back equ DATA + 20
pm       equ DATA + 24
pm_back  equ DATA + 28
tsc_ms   equ DATA + 32                          ; v86 counts 1,000,000 a millisecond
rtc_0    equ DATA + 36
tsc_ms_0 equ DATA + 40
behind   equ DATA + 44

PM_TIMER equ 0xB008                             ; where v86 has it; 3,579,545 Hz, 24 bits

main:
 inc dword [rounds]
 mov ah, 4
 call cmos
 imul ecx, ecx, 3600
 mov [rtc], ecx
 mov ah, 2
 call cmos
 imul ecx, ecx, 60
 add [rtc], ecx
 mov ah, 0
 call cmos
 add [rtc], ecx

 rdtsc
 cmp edx, [stamp + 4]
 ja .onward
 jb .back
 cmp eax, [stamp]
 jae .onward
.back:
 inc dword [tsc_back]
.onward:
 mov [stamp], eax
 mov [stamp + 4], edx
 mov ecx, 1000000
 div ecx
 mov [tsc_ms], eax

 cmp dword [rounds], 1
 jne .kept
 mov [tsc_ms_0], eax
 mov ecx, [rtc]
 mov [rtc_0], ecx
.kept:
 sub eax, [tsc_ms_0]
 xor edx, edx
 mov ecx, 1000
 div ecx
 mov ecx, [rtc]
 sub ecx, [rtc_0]
 jns .same_day
 add ecx, 86400
.same_day:
 sub ecx, eax
 jns .behind
 xor ecx, ecx                                   ; less than a second before, by rounding
.behind:
 mov [behind], ecx

 ; A step of more than half of the 24 bits is one back: it is read at every tick, and wraps in 4.7 seconds.
 mov dx, PM_TIMER
 in eax, dx
 cmp eax, 0xFFFFFFFF
 je .report
 and eax, 0xFFFFFF
 mov ecx, eax
 sub ecx, [pm]
 and ecx, 0xFFFFFF
 mov [pm], eax
 cmp dword [rounds], 1
 je .report
 cmp ecx, 0x800000
 jb .report
 inc dword [pm_back]
.report:
 mov ebx, fields
 call report
 hlt
 jmp main

; Gives the register AH of the RTC in ECX; it counts in BCD.
cmos:
 mov al, ah
 out 0x70, al
 in al, 0x71
 movzx eax, al
 mov ecx, eax
 shr ecx, 4
 imul ecx, ecx, 10
 and eax, 15
 add ecx, eax
 ret

fields:
 dd n_rounds, rounds, n_ticks, ticks, n_rtc, rtc, n_tsc, tsc_ms, n_tsc_back, tsc_back, n_pm, pm, n_pm_back, pm_back
 dd n_behind, behind, 0
n_rounds db "rounds=", 0
n_ticks db "ticks=", 0
n_rtc db "rtc=", 0
n_tsc db "tsc=", 0
n_tsc_back db "tscback=", 0
n_pm db "pm=", 0
n_pm_back db "pmback=", 0
n_behind db "behind=", 0
end_load:
