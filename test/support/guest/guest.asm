; The guest of the driver's tests: one program with several things to do, chosen by `mode`. Multiboot with an address header, no
; firmware. What it finds it writes into the mailbox at 0x101000, where a test reads it; some modes also write to COM1.
;   nasm -f bin guest.asm -o guest.bin; guest.ts holds the bytes, and a test compares them where nasm is installed.
BITS 32
ORG 0x100000
MAGIC equ 0x1BADB002
FLAGS equ 0x10000
COM   equ 0x3F8
BASE  equ 0x200000
start:
 dd MAGIC, FLAGS, -(MAGIC+FLAGS)
 dd start, start, end_load, end_bss, entry
; parameters at 0x100020
mode dd 0
p1   dd 0
p2   dd 0
p3   dd 0
p4   dd 0
entry:
 cli
 mov esp, stack_top
 lgdt [gdtr]
 jmp 8:.cs
.cs:
 mov ax,16
 mov ds,ax
 mov es,ax
 mov ss,ax
 mov fs,ax
 mov gs,ax
 mov eax, irq0
 mov [idt+0x20*8], ax
 mov word [idt+0x20*8+2], 8
 mov word [idt+0x20*8+4], 0x8E00
 shr eax,16
 mov [idt+0x20*8+6], ax
 lidt [idtr]
 mov al,0x11
 out 0x20,al
 out 0xA0,al
 mov al,0x20
 out 0x21,al
 mov al,0x28
 out 0xA1,al
 mov al,4
 out 0x21,al
 mov al,2
 out 0xA1,al
 mov al,1
 out 0x21,al
 out 0xA1,al
 mov al,0xFE
 out 0x21,al
 mov al,0xFF
 out 0xA1,al
 mov al,0x34            ; PIT channel 0, mode 2, 100 Hz
 out 0x43,al
 mov ax,11932
 out 0x40,al
 mov al,ah
 out 0x40,al
 mov dx,COM+1
 xor al,al
 out dx,al
 mov dx,COM+3
 mov al,3
 out dx,al
 sti
 mov eax,[mode]
 cmp eax,1
 je flags_mode
 cmp eax,2
 je clock_mode
 cmp eax,3
 je echo_mode
 cmp eax,4
 je triple_mode
 cmp eax,5
 je halt_mode
 cmp eax,6
 je tmem_mode
 cmp eax,7
 je disk_mode
 cmp eax,8
 je ring_mode

; 0: dirty p1 pages a round in a window of p2 pages, verifying what the last visit left; print each p3 rounds; p4: wait for a tick
work_mode:
 mov dword [left],1
.round:
 inc dword [rounds]
 mov ebx,[rounds]
 mov ecx,[p1]
.page:
 mov eax,[cursor]
 mov edi,eax
 shl edi,12
 add edi,BASE
 mov edx,[edi+4]
 test edx,edx
 jz .fresh
 mov ebp,eax
 xor ebp,0x5A5A0000
 xor ebp,edx
 cmp ebp,[edi]
 jne .bad
 not ebp
 cmp ebp,[edi+4092]
 je .fresh
.bad:
 inc dword [bad]
.fresh:
 mov [edi+4],ebx
 mov ebp,eax
 xor ebp,0x5A5A0000
 xor ebp,ebx
 mov [edi],ebp
 not ebp
 mov [edi+4092],ebp
 inc eax
 cmp eax,[p2]
 jb .keep
 xor eax,eax
.keep:
 mov [cursor],eax
 dec ecx
 jnz .page
 dec dword [left]
 jnz .quiet
 mov eax,[p3]
 mov [left],eax
 call report
.quiet:
 cmp dword [p4],0
 je .round
 hlt
 jmp .round

; 1: lazy flags, x87 status and MXCSR across a halt
flags_mode:
 mov dword [value1],0x3F80
.round:
 fninit
 fld1
 fldz
 fcompp                 ; 0 < 1: C0
 ldmxcsr [value1]
 mov eax,1
 test eax,eax           ; not zero, to be computed when somebody asks
 hlt
 jnz .zero_ok
 inc dword [bad]
.zero_ok:
 fnstsw ax
 and eax,0x4500
 cmp eax,0x0100
 je .status_ok
 inc dword [bad2]
.status_ok:
 stmxcsr [value2]
 mov eax,[value2]
 cmp eax,0x3F80
 je .mxcsr_ok
 inc dword [bad3]
.mxcsr_ok:
 inc dword [rounds]
 jmp .round

; 2: the clock chip (value1: year hour minute second, as the chip gives them), the first reading after value2 was set to
; ones, and a time-stamp counter that never goes back (bad counts when it does)
clock_mode:
.round:
 mov al,9
 call cmos
 mov bl,al
 shl ebx,8
 mov al,4
 call cmos
 mov bl,al
 shl ebx,8
 mov al,2
 call cmos
 mov bl,al
 shl ebx,8
 mov al,0
 call cmos
 mov bl,al
 mov [value1],ebx
 cmp dword [value2],0xFFFFFFFF
 jne .seen
 mov [value2],ebx
.seen:
 rdtsc
 mov ecx,eax
 sub ecx,[tsc_low]
 mov ecx,edx
 sbb ecx,[tsc_high]
 jnc .forward
 inc dword [bad]
.forward:
 mov [tsc_low],eax
 mov [tsc_high],edx
 inc dword [rounds]
 jmp .round
cmos:
 out 0x70,al
 in al,0x71
 ret

; 3: send back what comes in on COM1, looking once a tick
echo_mode:
.round:
 hlt
 inc dword [rounds]
.more:
 mov dx,COM+5
 in al,dx
 test al,1
 jz .round
 mov dx,COM
 in al,dx
 out dx,al
 jmp .more

; 4: a fault while there is no table of interrupts, once value1 is set
triple_mode:
 cmp dword [value1],0
 jne .now
 hlt
 jmp triple_mode
.now:
 lidt [no_idt]
 int3

; 5: nothing any more
halt_mode:
 cli
 hlt
 jmp halt_mode

; 6: put a page of tmem, get it back and compare, in a pool of its own; p1: wait for a tick between
tmem_mode:
 mov dx,0x7E4
 in eax,dx
 mov [value2],eax
 mov dx,0x7E0
 in eax,dx
 mov [value1],eax
 cmp eax,0x6D656D74
 jne halt_mode
 mov dword [desc],1
 mov dword [desc+12],0x01000001
 call ring
 mov [pool],eax
.round:
 inc dword [rounds]
 mov edi,page_a
 mov ecx,1024
 mov eax,[rounds]
 cld
.fill:
 stosd
 add eax,0x01000193
 dec ecx
 jnz .fill
 mov dword [desc],3
 mov dword [desc+48],page_a
 call .ask
 cmp eax,1
 jne .bad
 mov dword [desc],4
 mov dword [desc+48],page_b
 call .ask
 cmp eax,1
 jne .bad
 mov esi,page_a
 mov edi,page_b
 mov ecx,1024
 repe cmpsd
 je .next
.bad:
 inc dword [bad]
.next:
 cmp dword [p1],0
 je .round
 hlt
 jmp .round
.ask:
 mov eax,[pool]
 mov [desc+12],eax
 mov eax,[rounds]
 and eax,63
 mov [desc+40],eax
ring:
 mov dword [desc+4],0
 mov eax,desc
 mov dx,0x7E0
 out dx,eax
.wait:
 cmp dword [desc+4],1
 jne .wait
 mov eax,[desc+8]
 ret

; 7: write a sector and read it back, sector after sector of p1; value1: status after the write, value2: error
disk_mode:
.round:
 mov bl,0x30
 call ata
 mov dx,0x1F7
.drq:
 in al,dx
 test al,0x80
 jnz .drq
 test al,1
 jnz .failed
 test al,8
 jz .drq
 mov edi,page_a
 mov ecx,128
 mov eax,[rounds]
 add eax,0x11111111
 rep stosd
 mov esi,page_a
 mov ecx,256
 mov dx,0x1F0
 rep outsw
 mov dx,0x1F7
.busy:
 in al,dx
 test al,0x80
 jnz .busy
.failed:
 movzx eax,al
 mov [value1],eax
 mov dx,0x1F1
 in al,dx
 movzx eax,al
 mov [value2],eax
 mov bl,0x20
 call ata
 mov dx,0x1F7
.drq2:
 in al,dx
 test al,0x80
 jnz .drq2
 test al,1
 jnz .bad
 test al,8
 jz .drq2
 mov edi,page_b
 mov ecx,256
 mov dx,0x1F0
 rep insw
 mov esi,page_a
 mov edi,page_b
 mov ecx,128
 repe cmpsd
 je .good
.bad:
 inc dword [bad]
.good:
 inc dword [rounds]
 hlt
 jmp .round
ata:
 mov eax,[rounds]
 xor edx,edx
 div dword [p1]
 mov ecx,edx
 mov dx,0x1F6
 mov al,0xE0
 out dx,al
 mov dx,0x1F2
 mov al,1
 out dx,al
 inc dx
 mov al,cl
 out dx,al
 inc dx
 mov al,ch
 out dx,al
 inc dx
 xor al,al
 out dx,al
 mov dx,0x1F7
 mov al,bl
 out dx,al
 ret

; 8: ring the doorbell p1 times without a pause; a tick count before and after
ring_mode:
 cmp dword [value1],0
 je ring_mode
 mov ecx,[p1]
.again:
 mov dword [desc+4],0
 mov eax,desc
 mov dx,0x7E0
 out dx,eax
 inc dword [rounds]
 dec ecx
 jnz .again
 mov dword [value2],1
 jmp halt_mode

report:
 mov esi,s_round
 call puts
 mov eax,[rounds]
 call hex
 mov esi,s_bad
 call puts
 mov eax,[bad]
 call hex
 mov esi,s_end
puts:
 lodsb
 test al,al
 jz .done
 call putc
 jmp puts
.done:
 ret
hex:
 mov ecx,8
.digit:
 rol eax,4
 push eax
 and al,15
 add al,'0'
 cmp al,'9'
 jbe .put
 add al,39
.put:
 call putc
 pop eax
 dec ecx
 jnz .digit
 ret
putc:
 push edx
 mov dx,COM
 out dx,al
 pop edx
 ret
irq0:
 push eax
 inc dword [ticks]
 mov al,0x20
 out 0x20,al
 pop eax
 iret
align 8
gdt:
 dq 0
 dq 0x00CF9A000000FFFF
 dq 0x00CF92000000FFFF
gdtr:
 dw 23
 dd gdt
idtr:
 dw 0x21*8-1
 dd idt
no_idt:
 dw 0
 dd 0
s_round db "r=",0
s_bad db " bad=",0
s_end db 10,0
end_load:

absolute 0x101000
rounds   resd 1
bad      resd 1
bad2     resd 1
bad3     resd 1
value1   resd 1
value2   resd 1
ticks    resd 1
tsc_low  resd 1
tsc_high resd 1
cursor   resd 1
left     resd 1
pool     resd 1
idt      resb 0x21*8
absolute 0x101400
desc     resb 64
absolute 0x102000
stack    resb 4096
stack_top:
page_a   resb 4096
page_b   resb 4096
end_bss:
