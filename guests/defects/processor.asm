; Sets flags that the emulator computes only when they are asked for, the x87 status word and MXCSR; halts; and looks
; whether they are still the same. A restore that loses them while the guest is halted is counted.
; nasm -f bin processor.asm -o processor.bin

%include "common.asm"

rounds     equ DATA + 4
flags_bad  equ DATA + 8
x87_bad    equ DATA + 12
mxcsr_bad  equ DATA + 16
x87_then   equ DATA + 20
mxcsr_then equ DATA + 24
mxcsr_now  equ DATA + 28

main:
 mov eax, cr4
 or eax, 0x600                                  ; SSE instructions are allowed
 mov cr4, eax
 fninit
 fld1
 mov dword [mxcsr_then], 0x5F80                 ; rounding upwards, everything masked
.round:
 inc dword [rounds]
 ; 0 < 1: condition code C0 is set.
 fldz
 fcomp st1
 fnstsw ax
 mov [x87_then], ax
 ldmxcsr [mxcsr_then]
 ; By turns a result whose sign is set and one whose is not; never zero.
 mov ecx, [rounds]
 ror ecx, 1
 or ecx, 2
 test ecx, ecx
 hlt
 pushfd
 pop edx
 ; The zero flag must be clear, and the sign flag, bit 7, be bit 31 of what was tested.
 mov eax, ecx
 shr eax, 24
 xor eax, edx
 and eax, 0x80
 and edx, 0x40
 or eax, edx
 jz .x87
 inc dword [flags_bad]
.x87:
 fnstsw ax
 cmp ax, [x87_then]
 je .mxcsr
 inc dword [x87_bad]
.mxcsr:
 stmxcsr [mxcsr_now]
 mov eax, [mxcsr_now]
 cmp eax, [mxcsr_then]
 je .report
 inc dword [mxcsr_bad]
.report:
 mov ebx, fields
 call report
 jmp .round

fields:
 dd n_rounds, rounds, n_flags, flags_bad, n_x87, x87_bad, n_mxcsr, mxcsr_bad, 0
n_rounds db "rounds=", 0
n_flags db "flags=", 0
n_x87 db "x87=", 0
n_mxcsr db "mxcsr=", 0
end_load:
