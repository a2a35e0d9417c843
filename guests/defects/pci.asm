; Reads the configuration of every PCI device again and again, and counts how often it is not what it was at first.
; nasm -f bin pci.asm -o pci.bin

%include "common.asm"

rounds   equ DATA + 4
changed  equ DATA + 8
devices  equ DATA + 12
first    equ DATA + 16
digest   equ DATA + 20

main:
 xor ebp, ebp                                   ; the device
 mov dword [devices], 0
 mov dword [digest], 0
.device:
 mov eax, ebp
 shl eax, 8
 or eax, 0x80000000
 mov dx, 0xCF8
 out dx, eax
 mov dx, 0xCFC
 in eax, dx
 cmp ax, 0xFFFF
 je .next
 inc dword [devices]
 xor esi, esi
.register:
 mov eax, ebp
 shl eax, 8
 or eax, esi
 or eax, 0x80000000
 mov dx, 0xCF8
 out dx, eax
 mov dx, 0xCFC
 in eax, dx
 xor eax, [digest]
 imul eax, eax, 0x01000193
 add eax, esi
 mov [digest], eax
 add esi, 4
 cmp esi, 0x40
 jb .register
.next:
 inc ebp
 cmp ebp, 256
 jb .device
 inc dword [rounds]
 mov eax, [digest]
 cmp dword [rounds], 1
 ja .compare
 mov [first], eax
.compare:
 cmp eax, [first]
 je .report
 inc dword [changed]
.report:
 mov ebx, fields
 call report
 hlt
 jmp main

fields:
 dd n_rounds, rounds, n_devices, devices, n_changed, changed, 0
n_rounds db "rounds=", 0
n_devices db "devices=", 0
n_changed db "changed=", 0
end_load:
