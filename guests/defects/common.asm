; What the guests that show defects share: a multiboot header, flat segments, a tick, the serial port.
; A guest defines `main`, which is begun with interrupts on; it never returns. Data lies from `DATA` on, never in a
; page of code.

BITS 32
ORG 0x100000
MULTIBOOT       equ 0x1BADB002
MULTIBOOT_FLAGS equ 0x10000
DATA            equ 0x104000
IDT             equ 0x106000
STACK_TOP       equ 0x108000
COM1            equ 0x3F8

ticks           equ DATA                        ; counted by the timer, 100 times a second

start:
 dd MULTIBOOT, MULTIBOOT_FLAGS, -(MULTIBOOT + MULTIBOOT_FLAGS)
 dd start, start, end_load, STACK_TOP, entry

entry:
 cli
 cld
 mov esp, STACK_TOP
 lgdt [gdtr]
 jmp 8:.flat
.flat:
 mov ax, 16
 mov ds, ax
 mov es, ax
 mov ss, ax
 mov eax, timer
 mov word [IDT + 32 * 8], ax
 mov word [IDT + 32 * 8 + 2], 8
 mov word [IDT + 32 * 8 + 4], 0x8E00
 shr eax, 16
 mov [IDT + 32 * 8 + 6], ax
 lidt [idtr]
 mov al, 0x11
 out 0x20, al
 out 0xA0, al
 mov al, 0x20
 out 0x21, al
 mov al, 0x28
 out 0xA1, al
 mov al, 4
 out 0x21, al
 mov al, 2
 out 0xA1, al
 mov al, 1
 out 0x21, al
 out 0xA1, al
 mov al, 0xFE
 out 0x21, al
 mov al, 0xFF
 out 0xA1, al
 mov al, 0x34
 out 0x43, al
 mov ax, 11932
 out 0x40, al
 mov al, ah
 out 0x40, al
 sti
 jmp main

timer:
 push eax
 inc dword [ticks]
 mov al, 0x20
 out 0x20, al
 pop eax
 iret

; Writes the list at EBX of names and variables as `name=number`, and ends the line.
report:
 mov edx, [ebx]
 test edx, edx
 jz .end
.name:
 mov al, [edx]
 inc edx
 test al, al
 jz .value
 call putc
 jmp .name
.value:
 mov eax, [ebx + 4]
 mov eax, [eax]
 add ebx, 8
 mov edi, 10
 xor ecx, ecx
.divide:
 xor edx, edx
 div edi
 push edx
 inc ecx
 test eax, eax
 jnz .divide
.digit:
 pop eax
 add al, '0'
 call putc
 dec ecx
 jnz .digit
 mov al, ' '
 cmp dword [ebx], 0
 je report
 call putc
 jmp report
.end:
 mov al, 10
putc:
 push edx
 mov dx, COM1
 out dx, al
 pop edx
 ret

align 8
; Marked as accessed already, or the processor would write that into this page.
gdt:
 dq 0
 dq 0x00CF9B000000FFFF
 dq 0x00CF93000000FFFF
gdtr:
 dw 23
 dd gdt
idtr:
 dw 33 * 8 - 1
 dd IDT
