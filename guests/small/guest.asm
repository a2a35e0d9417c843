; The small guest: a multiboot image for a 32-bit PC without a BIOS. What it does and says: README.md.
; nasm -f bin guest.asm -o guest.bin
;
; Rounds: each writes some pages of memory in a pattern that depends on the page and on how often pages were written,
; after it has checked that the page still holds what was written to it last. A page that was lost, is old, torn or
; in the wrong place cannot have the right content. Beside it, tmem operations through the descriptor and doorbell of
; spec/hypercall.md, with everything that is read checked in the same way.
;
; Nothing is ever written to a page that holds code: an emulator that translates code would do it again each time.

BITS 32
ORG 0x100000

MULTIBOOT       equ 0x1BADB002
MULTIBOOT_FLAGS equ 0x10000                     ; the address fields of the header are valid
COM1            equ 0x3F8
TMEM_PORT       equ 0x7E0                       ; spec/hypercall.md, 1 and 3
TMEM_VERSION    equ 0x7E4
TMEM_HERE       equ 0x6D656D74
HANDLES_MAX     equ 16384                       ; pages a tmem pool may have here
PAGES_MAX       equ 262144                      ; pages of memory that the table below can describe
MEMORY_TABLE    equ 0x200000                    ; a dword a page: 0 never written, else (serial << 4) | log2(stride)
TMEM_TABLE      equ 0x300000                    ; 4 pools, a dword a page: 0 not there, else the serial of its put
BASE            equ 0x400000                    ; the pages
FAULT_LINES     equ 8                           ; faults that get a line; all are counted
STEP_OPS        equ 64                          ; tmem operations between two looks at the serial port

start:
 dd MULTIBOOT, MULTIBOOT_FLAGS, -(MULTIBOOT + MULTIBOOT_FLAGS)
 dd start, start, end_load, end_bss, entry

; At 0x20 of the image: set by whoever loads it, read once. Commands change the copies.
params:
 db "TMSG"
 dd 1                                           ; version of this block
params_values:
 dd 16                                          ; w: pages written a round
 dd 0                                           ; s: pages in use, 0 for all
 dd 10                                          ; p: ticks from round to round, 0 for none
 dd 4                                           ; d: bytes from a written word to the next, 4 to 1024
 dd 4                                           ; t: tmem operations a round
 dd 64                                          ; m: pages in use in each pool
 dd 15                                          ; o: pools in use, a bit each
 dd 10                                          ; r: ticks from report to report, 0 for none
 dd 1                                           ; seed of the choices
 dd 2000000                                     ; how often to look for a completion before halting

entry:
 cli
 cld
 mov esp, stack_top
 lgdt [gdtr]
 jmp 8:.flat
.flat:
 mov ax, 16
 mov ds, ax
 mov es, ax
 mov fs, ax
 mov gs, ax
 mov ss, ax
 call set_interrupts
 call set_devices
 mov esi, params_values
 mov edi, values
 mov ecx, 10
 rep movsd
 call find_memory
 cmp dword [memory_pages], 0
 je too_small
 call clamp
 mov eax, -1
 mov edi, pool_ids
 mov ecx, 4
 rep stosd
 call probe_tmem
 sti
 call hello
 call report

round:
 inc dword [round_no]
 mov eax, [ticks]
 mov [round_tick], eax
 mov eax, [v_tops]
 mov [ops_left], eax
 mov eax, [v_write]
 mov [write_left], eax
.page:
 cmp dword [write_left], 0
 je .written
 dec dword [write_left]
 call touch
 test dword [pages_written], 63
 jnz .page
 call service
 jmp .page
.written:
 call settle
.pace:
 call service
 mov eax, [ticks]
 sub eax, [round_tick]
 cmp eax, [v_pace]
 jae round
 hlt
 jmp .pace

; ---- memory ----------------------------------------------------------------------------------------------------------

; Checks the next page and writes it anew.
touch:
 mov esi, [cursor]
 cmp esi, [v_span]
 jb .inside
 xor esi, esi
.inside:
 call check_page
.serial:
 inc dword [serial]
 and dword [serial], 0x0FFFFFFF
 jz .serial
 mov edx, [serial]
 mov eax, edx
 shl eax, 4
 or eax, [stride_log]
 ; The sum of the table: a table page and its pages cannot go back together unseen.
 mov ecx, eax
 sub ecx, [MEMORY_TABLE + esi * 4]
 add [table_sum], ecx
 mov [MEMORY_TABLE + esi * 4], eax
 mov eax, esi
 call pattern
 mov edi, esi
 shl edi, 12
 add edi, BASE
 mov ecx, [stride_words]
 mov ebx, [v_stride]
 call fill
 inc esi
 mov [cursor], esi
 inc dword [pages_written]
 ret

; Checks page ESI against its entry in the table, if it was ever written. Keeps ESI.
check_page:
 mov ebp, [MEMORY_TABLE + esi * 4]
 test ebp, ebp
 jz .ret
 mov edi, esi
 shl edi, 12
 add edi, BASE
 xor eax, eax
 mov ecx, ebp
 and ecx, 15
 cmp ecx, 2
 jb .bad
 cmp ecx, 10
 ja .bad
 mov edx, ebp
 shr edx, 4
 mov eax, esi
 call pattern
 mov ecx, ebp
 and ecx, 15
 mov ebx, 1
 shl ebx, cl
 push eax
 mov eax, 4096
 shr eax, cl
 mov ecx, eax
 pop eax
 call verify
 jnz .bad
.ret:
 ret
.bad:
 inc dword [bad]
 call may_tell
 jc .ret
 push eax
 mov edx, s_fault_page
 call puts
 mov eax, esi
 call decimal
 mov edx, s_at
 call puts
 mov eax, edi
 and eax, 4095
 call decimal
 mov edx, s_want
 call puts
 pop eax
 call decimal
 mov edx, s_got
 call puts
 mov eax, [edi]
 call decimal
 jmp newline

; EAX: what page, EDX: which writing of it. Gives EAX: the first word, EDX: what is added from word to word.
; Every eighth writing is all zeros, since pages that become zero are a case of their own for whoever copies them.
pattern:
 imul eax, eax, 0x85EBCA77
 mov ecx, edx
 imul ecx, ecx, 0x9E3779B1
 xor eax, ecx
 and edx, 7
 cmp edx, 7
 mov edx, 1013904223
 jne .ret
 xor eax, eax
 xor edx, edx
.ret:
 ret

; Writes ECX words from EDI on, EBX bytes apart.
fill:
 mov [edi], eax
 imul eax, eax, 1664525
 add eax, edx
 add edi, ebx
 dec ecx
 jnz fill
 ret

; Compares ECX words from EDI on, EBX bytes apart. Gives ZF, and where they differ EDI and EAX, the word wanted.
verify:
 cmp [edi], eax
 jne .differs
 imul eax, eax, 1664525
 add eax, edx
 add edi, ebx
 dec ecx
 jnz verify
.differs:
 test ecx, ecx
 ret

; Checks all of memory, and every page of the persistent pools.
check_all:
 xor esi, esi
 xor ebp, ebp
 mov [checked_pages], ebp
 mov [checked_tmem], ebp
 mov [sum], ebp
.page:
 mov eax, [MEMORY_TABLE + esi * 4]
 add [sum], eax
 test eax, eax
 jz .next
 inc dword [checked_pages]
 call check_page
.next:
 inc esi
 cmp esi, [memory_pages]
 jb .page
 mov eax, [sum]
 cmp eax, [table_sum]
 je .tmem
 inc dword [bad]
.tmem:
 cmp dword [op], 0
 je .idle
 call finish
.idle:
 cmp dword [tmem_here], 0
 je .say
 mov dword [pool], 0
.pool:
 mov ecx, [pool]
 cmp dword [pool_ids + ecx * 4], 0
 jl .next_pool
 test dword [pool_flags + ecx * 4], 1
 jz .next_pool
 mov dword [handle], 0
.handle:
 call locate
 mov eax, [entry_at]
 cmp dword [eax], 0
 je .get
 inc dword [checked_tmem]
.get:
 mov eax, 4
 call prepare
 call ring
 call finish
 inc dword [handle]
 mov eax, [handle]
 cmp eax, [handles_high]
 jb .handle
.next_pool:
 inc dword [pool]
 cmp dword [pool], 4
 jb .pool
.say:
 mov ebx, f_check
 mov edx, s_check
 call puts
 jmp fields

; How many pages there are from BASE on: memory is looked for in steps of 1 MiB.
find_memory:
 mov edi, BASE
.step:
 mov eax, [edi + 0xFFFFC]
 mov dword [edi + 0xFFFFC], 0x5A5AA5A5
 cmp dword [edi + 0xFFFFC], 0x5A5AA5A5
 jne .end
 mov dword [edi + 0xFFFFC], 0xA5A55A5A
 cmp dword [edi + 0xFFFFC], 0xA5A55A5A
 jne .end
 mov [edi + 0xFFFFC], eax
 add edi, 0x100000
 cmp edi, BASE + PAGES_MAX * 4096
 jb .step
.end:
 sub edi, BASE
 shr edi, 12
 mov [memory_pages], edi
 ret

; Brings the values into their ranges, and computes what follows from them. Less work holds for this round already.
clamp:
 mov eax, [v_write]
 cmp [write_left], eax
 jbe .writes
 mov [write_left], eax
.writes:
 mov eax, [v_tops]
 cmp [ops_left], eax
 jbe .ops
 mov [ops_left], eax
.ops:
 mov eax, [v_span]
 mov ecx, [memory_pages]
 cmp eax, ecx
 ja .all
 test eax, eax
 jnz .span
.all:
 mov [v_span], ecx
.span:
 mov eax, [v_stride]
 cmp eax, 4
 jae .small
 mov eax, 4
.small:
 cmp eax, 1024
 jbe .large
 mov eax, 1024
.large:
 bsr ecx, eax
 mov [stride_log], ecx
 mov eax, 1
 shl eax, cl
 mov [v_stride], eax
 mov eax, 4096
 shr eax, cl
 mov [stride_words], eax
 mov eax, [v_tpages]
 and eax, -8
 jnz .some
 mov eax, 8
.some:
 cmp eax, HANDLES_MAX
 jbe .few
 mov eax, HANDLES_MAX
.few:
 mov [v_tpages], eax
 cmp eax, [handles_high]
 jbe .high
 mov [handles_high], eax
.high:
 and dword [v_pools], 15
 cmp dword [v_seed], 0
 jne .ret
 inc dword [v_seed]
.ret:
 ret

; ---- tmem ------------------------------------------------------------------------------------------------------------

probe_tmem:
 mov dx, TMEM_PORT
 in eax, dx
 cmp eax, TMEM_HERE
 jne .ret
 mov dx, TMEM_VERSION
 in eax, dx
 cmp eax, 1
 jne .ret
 mov [tmem_here], eax
.ret:
 ret

; Goes on until the operations of the round are done. The rest of the machine is looked after meanwhile.
settle:
 call service
 cmp dword [op], 0
 jne .spin
 cmp dword [ops_left], 0
 jne settle
 ret
.spin:
 mov ecx, [v_spin]
 inc ecx
.look:
 cmp dword [descriptor + 4], 0
 jne settle
 pause
 dec ecx
 jnz .look
 hlt
 jmp settle

; Takes a completion if there is one, and starts further operations, until one is pending or enough were done.
tmem_step:
 cmp dword [tmem_here], 0
 je .none
 mov dword [steps], STEP_OPS
.next:
 cmp dword [op], 0
 je .begin
 cmp dword [descriptor + 4], 0
 je .ret
 call complete
 cmp dword [ops_left], 0
 je .counted
 dec dword [ops_left]
.counted:
 dec dword [steps]
 jz .ret
.begin:
 cmp dword [ops_left], 0
 je .ret
 call choose
 jc .none
 call ring
 jmp .next
.none:
 mov dword [ops_left], 0
.ret:
 ret

; Chooses an operation by chance and prepares it. Carry: no pool is in use.
choose:
 call random
 mov ecx, eax
 mov ebx, 4
.try:
 and ecx, 3
 bt [v_pools], ecx
 jc .pool
 inc ecx
 dec ebx
 jnz .try
 stc
 ret
.pool:
 mov [pool], ecx
 mov dword [handle], 0
 mov eax, 1
 cmp dword [pool_ids + ecx * 4], 0
 jl .chosen
 call random
 xor edx, edx
 div dword [v_tpages]
 mov [handle], edx
 call random
 shr eax, 8
 and eax, 255
 mov ecx, eax
 mov eax, 2
 cmp ecx, 4
 jae .not_destroy
 cmp dword [pool], 3
 je .chosen
.not_destroy:
 mov eax, 6
 cmp ecx, 6
 jb .chosen
 dec eax
 cmp ecx, 20
 jb .chosen
 dec eax
 cmp ecx, 140
 jb .chosen
 dec eax
.chosen:
 push eax
 call locate
 pop eax
 call prepare
 clc
 ret

; The table entry of [pool], [handle].
locate:
 mov eax, [pool]
 shl eax, 14
 add eax, [handle]
 lea eax, [TMEM_TABLE + eax * 4]
 mov [entry_at], eax
 ret

; Fills the descriptor, and the page, for operation EAX on [pool], [handle].
prepare:
 mov [op], eax
 mov edi, descriptor
 mov ecx, 16
 xor eax, eax
 rep stosd
 mov eax, [op]
 mov [descriptor], eax
 mov ecx, [pool]
 cmp eax, 1
 je .new_pool
 mov edx, [pool_ids + ecx * 4]
 mov [descriptor + 12], edx
 cmp eax, 2
 je .ret
 ; Eight pages an object; its id uses all 192 bits.
 mov eax, [handle]
 shr eax, 3
 shl ecx, 20
 lea eax, [eax + ecx + 1]
 mov edi, descriptor + 16
 mov ecx, 6
.id:
 imul eax, eax, 1664525
 add eax, 1013904223
 stosd
 dec ecx
 jnz .id
 cmp dword [op], 6
 je .ret
 mov eax, [handle]
 and eax, 7
 imul eax, eax, 0x10001
 mov [descriptor + 40], eax
 cmp dword [op], 5
 je .ret
 mov dword [descriptor + 48], tmem_page
 cmp dword [op], 3
 je .put
 ; What is not written by the host must not look right.
 mov eax, 0xA5A5A5A5
 mov edi, tmem_page
 mov ecx, 1024
 rep stosd
.ret:
 ret
.new_pool:
 mov eax, [flags_of_pools + ecx * 4]
 cmp ecx, 3
 jne .private
 inc dword [churn]
 mov edx, [churn]
 and edx, 1
 or eax, edx
.private:
 mov [pool_flags + ecx * 4], eax
 mov [descriptor + 12], eax
 ret
.put:
 inc dword [tmem_serial]
 jz .put
 mov edx, [tmem_serial]
 call length_of
 mov [descriptor + 44], eax
 call tmem_pattern
 mov edi, tmem_page
 mov ecx, 1024
 mov ebx, 4
 jmp fill

; How long the data of serial EDX in [pool] is: in a PRECOMPRESSED pool 1 to 4,096 bytes. 0 where it is not one.
length_of:
 mov eax, [pool]
 test dword [pool_flags + eax * 4], 4
 mov eax, 0
 jz .ret
 imul eax, edx, 0x9E3779B1
 shr eax, 20
 inc eax
.ret:
 ret

; The pattern of serial EDX at [pool], [handle].
tmem_pattern:
 mov eax, [pool]
 shl eax, 24
 or eax, [handle]
 or eax, 0x80000000
 jmp pattern

ring:
 mov eax, descriptor
 mov dx, TMEM_PORT
 out dx, eax
 ret

; Waits for the operation that is pending, and takes its result.
finish:
 mov ecx, [v_spin]
 inc ecx
.look:
 cmp dword [descriptor + 4], 0
 jne complete
 pause
 dec ecx
 jnz .look
 hlt
 jmp finish

; Judges the result of the operation, and notes what must be there from now on.
complete:
 mov ebx, [entry_at]
 mov ecx, [pool]
 mov eax, [descriptor + 8]
 mov edx, [op]
 mov [op_done], edx
 mov dword [op], 0
 dec edx
 jz .new_pool
 dec edx
 jz .destroy
 dec edx
 jz .put
 dec edx
 jz .get
 dec edx
 jz .flush_page
 ; flush object: eight entries
 inc dword [flushes]
 and ebx, -32
 mov edi, ebx
 xor edx, edx
 mov ecx, 8
.object:
 or edx, [edi]
 mov dword [edi], 0
 add edi, 4
 dec ecx
 jnz .object
 jmp .flushed
.flush_page:
 inc dword [flushes]
 mov edx, [ebx]
 mov dword [ebx], 0
.flushed:
 cmp eax, 1
 je .ret
 cmp eax, -1000                                 ; done although the client is frozen
 je .ret
 test eax, eax
 jnz .wrong
 ; Nothing was there: a persistent page was lost if something should have been.
 test edx, edx
 jz .ret
 mov ecx, [pool]
 test dword [pool_flags + ecx * 4], 1
 jnz .wrong
.ret:
 ret
.new_pool:
 test eax, eax
 jl .refused
 xor edx, edx
.taken:
 cmp [pool_ids + edx * 4], eax
 je .wrong
 inc edx
 cmp edx, 4
 jb .taken
 mov [pool_ids + ecx * 4], eax
 inc dword [pools]
 ret
.destroy:
 mov dword [pool_ids + ecx * 4], -1
 mov edi, ecx
 shl edi, 16
 add edi, TMEM_TABLE
 mov ecx, [handles_high]
 mov edx, eax
 xor eax, eax
 rep stosd
 mov eax, edx
 cmp eax, 1
 jne .wrong
 ret
.put:
 mov edx, [tmem_serial]
 mov [ebx], edx
 cmp eax, 1
 jne .not_put
 inc dword [puts_done]
 ret
.not_put:
 ; What was there before must not be readable either.
 mov dword [ebx], 0
 cmp eax, -12
 je .refused
 cmp eax, -28
 je .refused
 cmp eax, -1000
 jne .wrong
.refused:
 inc dword [refused]
 ret
.get:
 mov edx, [ebx]
 test dword [pool_flags + ecx * 4], 1
 jnz .kept
 ; A get takes an ephemeral page away; and one that is not there does not come back.
 mov dword [ebx], 0
.kept:
 cmp eax, 1
 je .got
 inc dword [misses]
 test eax, eax
 jz .missing
 cmp eax, -1001                                 ; the pool is empty
 jne .wrong
.missing:
 test edx, edx
 jz .ret
 test dword [pool_flags + ecx * 4], 1
 jnz .wrong
 ret
.got:
 inc dword [gets]
 test edx, edx
 jz .wrong
 call length_of
 cmp eax, [descriptor + 44]
 jne .wrong
 mov ebp, eax
 test ebp, ebp
 jnz .length
 mov ebp, 4096
.length:
 call tmem_pattern
 mov edi, tmem_page
 mov ebx, 4
 mov ecx, ebp
 shr ecx, 2
 jz .tail
 call verify
 jnz .wrong
.tail:
 and ebp, 3
 jz .ret
.byte:
 cmp [edi], al
 jne .wrong
 shr eax, 8
 inc edi
 dec ebp
 jnz .byte
 ret
.wrong:
 inc dword [tmembad]
 call may_tell
 jc .ret
 mov ebx, f_tmem
 mov edx, s_fault_tmem
 call puts
 mov dword [signed], 1
 call fields
 mov dword [signed], 0
 ret

random:
 mov eax, [v_seed]
 mov edx, eax
 shl edx, 13
 xor eax, edx
 mov edx, eax
 shr edx, 17
 xor eax, edx
 mov edx, eax
 shl edx, 5
 xor eax, edx
 mov [v_seed], eax
 ret

; ---- the serial port -------------------------------------------------------------------------------------------------

; Looks at everything that is not the round: commands, the time stamp counter, completions, the report.
service:
 pushad
 mov esi, 64
.more:
 mov dx, COM1 + 5
 in al, dx
 cmp al, 0xFF
 je .no_input
 test al, 1
 jz .no_input
 mov dx, COM1
 in al, dx
 call input
 dec esi
 jnz .more
.no_input:
 rdtsc
 cmp edx, [stamp + 4]
 ja .onward
 jb .backward
 cmp eax, [stamp]
 jae .onward
.backward:
 inc dword [back]
.onward:
 mov [stamp], eax
 mov [stamp + 4], edx
 call tmem_step
 mov eax, [ticks]
 sub eax, [report_tick]
 cmp dword [v_report], 0
 je .quiet
 cmp eax, [v_report]
 jb .quiet
 call report
.quiet:
 popad
 ret

; A character of a command: a letter, a number, the end of the line.
input:
 push esi
 cmp al, 13
 je .line
 cmp al, 10
 je .line
 cmp dword [letter], 0
 jne .digit
 movzx eax, al
 mov [letter], eax
 mov dword [number], 0
 jmp .ret
.digit:
 sub al, '0'
 cmp al, 9
 ja .invalid
 movzx eax, al
 imul ecx, [number], 10
 add ecx, eax
 mov [number], ecx
 mov dword [has_number], 1
 jmp .ret
.invalid:
 mov dword [letter], 255
 jmp .ret
.line:
 mov eax, [letter]
 mov dword [letter], 0
 mov ecx, [has_number]
 mov dword [has_number], 0
 test eax, eax
 jz .ret
 test ecx, ecx
 jnz .setting
 cmp al, '?'
 je .report
 cmp al, 'c'
 je .check
 cmp al, 'k'
 je .kill
 jmp .error
.setting:
 mov ecx, 0
.look:
 cmp al, [letters + ecx]
 je .set
 inc ecx
 cmp ecx, 8
 jb .look
.error:
 mov edx, s_error
 call puts
.ret:
 pop esi
 ret
.set:
 mov edx, [number]
 mov [values + ecx * 4], edx
 push ecx
 push eax
 call clamp
 mov edx, s_ok
 call puts
 pop eax
 call putc
 mov al, '='
 call putc
 pop ecx
 mov eax, [values + ecx * 4]
 call decimal
 call newline
 jmp .ret
.report:
 call report
 jmp .ret
.check:
 pushad
 call check_all
 popad
 jmp .ret
.kill:
 ; An exception without an interrupt table: the processor gives up (a triple fault).
 lidt [nothing]
 int3

hello:
 mov ebx, f_hello
 mov edx, s_hello
 call puts
 jmp fields

report:
 mov eax, [ticks]
 mov [report_tick], eax
 mov ebx, f_report

; Writes the list at EBX of names and variables, and ends the line.
fields:
 mov edx, [ebx]
 test edx, edx
 jz newline
 call puts
 mov eax, [ebx + 4]
 mov eax, [eax]
 add ebx, 8
 call decimal
 cmp dword [ebx], 0
 je newline
 mov al, ' '
 call putc
 jmp fields

newline:
 mov al, 10

putc:
 push edx
 push ecx
 mov ah, al
 mov dx, COM1 + 5
 mov ecx, 65536
.busy:
 in al, dx
 test al, 0x20
 jnz .free
 dec ecx
 jnz .busy
.free:
 mov al, ah
 mov dx, COM1
 out dx, al
 pop ecx
 pop edx
 ret

puts:
 mov al, [edx]
 inc edx
 test al, al
 jz .ret
 call putc
 jmp puts
.ret:
 ret

; Writes EAX in decimal, as a signed number.
decimal:
 push ebx
 test eax, eax
 jns .positive
 cmp dword [signed], 0
 je .positive
 push eax
 mov al, '-'
 call putc
 pop eax
 neg eax
.positive:
 mov ebx, 10
 xor ecx, ecx
.divide:
 xor edx, edx
 div ebx
 push edx
 inc ecx
 test eax, eax
 jnz .divide
.write:
 pop eax
 add al, '0'
 call putc
 dec ecx
 jnz .write
 pop ebx
 ret

; Carry when enough faults have had their line.
may_tell:
 cmp dword [told], FAULT_LINES
 cmc
 jc .ret
 inc dword [told]
 clc
.ret:
 ret

; ---- the machine -----------------------------------------------------------------------------------------------------

too_small:
 mov edx, s_small
 call puts
 jmp dead

; Interrupt gates: 32 exceptions, which end everything, and 16 lines, of which only the timer is open.
set_interrupts:
 mov edi, idt
 mov esi, exceptions
 mov ecx, 32
.exception:
 mov eax, esi
 call gate
 add esi, exceptions_second - exceptions
 dec ecx
 jnz .exception
 mov eax, timer
 call gate
 mov ecx, 15
.other:
 mov eax, ignored
 call gate
 dec ecx
 jnz .other
 lidt [idtr]
 ret

; Writes the gate for the handler at EAX to EDI, and steps on.
gate:
 mov [edi], ax
 mov word [edi + 2], 8
 mov word [edi + 4], 0x8E00
 shr eax, 16
 mov [edi + 6], ax
 add edi, 8
 ret

set_devices:
 ; Both interrupt controllers: vectors from 32 and 40 on, only the timer's line open.
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
 ; The timer: mode 2, 1,193,182 / 11,932 = 100 times a second.
 mov al, 0x34
 out 0x43, al
 mov ax, 11932
 out 0x40, al
 mov al, ah
 out 0x40, al
 ; COM1: 115,200 baud, 8 bits, no interrupts, its queue on and empty.
 mov dx, COM1 + 1
 xor al, al
 out dx, al
 mov dx, COM1 + 3
 mov al, 0x83
 out dx, al
 mov dx, COM1
 mov al, 1
 out dx, al
 inc dx
 xor al, al
 out dx, al
 mov dx, COM1 + 3
 mov al, 3
 out dx, al
 mov dx, COM1 + 2
 mov al, 7
 out dx, al
 mov dx, COM1 + 4
 mov al, 3
 out dx, al
 ret

timer:
 push eax
 inc dword [ticks]
 mov al, 0x20
 out 0x20, al
 pop eax
 iret

ignored:
 iret

exceptions:
 push byte 0
 jmp near panic
exceptions_second:
%assign n 1
%rep 31
 push byte n
 jmp near panic
%assign n n + 1
%endrep

panic:
 cli
 pop dword [vector]
 pop dword [words]
 pop dword [words + 4]
 pop dword [words + 8]
 mov eax, cr2
 mov [words + 12], eax
 mov ebx, f_panic
 mov edx, s_panic
 call puts
 call fields
dead:
 cli
 hlt
 jmp dead

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
 dw 48 * 8 - 1
 dd idt
nothing:
 dw 0
 dd 0

align 4
; Persistent; ephemeral; persistent and PRECOMPRESSED; made and destroyed again and again, by turns persistent or not.
flags_of_pools:
 dd 0x01000001, 0x01000000, 0x01000005, 0x01000000
f_hello:
 dd n_memory, memory_pages, n_tmem, tmem_here, 0
f_report:
 dd n_round, round_no, n_ticks, ticks, n_pages, pages_written, n_bad, bad
 dd n_puts, puts_done, n_gets, gets, n_misses, misses, n_flushes, flushes, n_pools, pools, n_refused, refused
 dd n_tmembad, tmembad, n_back, back, 0
f_check:
 dd n_pages, checked_pages, n_bad, bad, n_tmem, checked_tmem, n_tmembad, tmembad, 0
f_tmem:
 dd n_op, op_done, n_pool, pool, n_handle, handle, n_result, descriptor + 8, 0
f_panic:
 dd n_vector, vector, n_word, words, n_word, words + 4, n_word, words + 8, n_cr2, words + 12, 0
letters db "wspdtmor"
s_hello db "small-guest version=1 ", 0
s_check db "check ", 0
s_fault_page db "fault page=", 0
s_fault_tmem db "fault tmem ", 0
s_at db " at=", 0
s_want db " want=", 0
s_got db " got=", 0
s_ok db "ok ", 0
s_error db "error", 10, 0
s_small db "error memory", 10, 0
s_panic db "panic ", 0
n_memory db "memory=", 0
n_tmem db "tmem=", 0
n_round db "round=", 0
n_ticks db "ticks=", 0
n_pages db "pages=", 0
n_bad db "bad=", 0
n_puts db "puts=", 0
n_gets db "gets=", 0
n_misses db "misses=", 0
n_flushes db "flushes=", 0
n_pools db "pools=", 0
n_refused db "refused=", 0
n_tmembad db "tmembad=", 0
n_back db "back=", 0
n_op db "op=", 0
n_pool db "pool=", 0
n_handle db "handle=", 0
n_result db "result=", 0
n_vector db "vector=", 0
n_word db "word=", 0
n_cr2 db "cr2=", 0
align 16
end_load:

; ---- data: never in a page of the image ------------------------------------------------------------------------------

absolute 0x104000
descriptor resb 64                              ; aligned to 64, as the host wants it
values:                                         ; in the order of the parameters and of `letters`
v_write resd 1
v_span resd 1
v_pace resd 1
v_stride resd 1
v_tops resd 1
v_tpages resd 1
v_pools resd 1
v_report resd 1
v_seed resd 1
v_spin resd 1
stride_log resd 1
stride_words resd 1
memory_pages resd 1
tmem_here resd 1
round_no resd 1
round_tick resd 1
report_tick resd 1
ticks resd 1
write_left resd 1
cursor resd 1
serial resd 1
table_sum resd 1
sum resd 1
pages_written resd 1
bad resd 1
back resd 1
stamp resd 2
told resd 1
signed resd 1
checked_pages resd 1
checked_tmem resd 1
letter resd 1
number resd 1
has_number resd 1
op resd 1
op_done resd 1
ops_left resd 1
steps resd 1
pool resd 1
handle resd 1
entry_at resd 1
handles_high resd 1
tmem_serial resd 1
churn resd 1
pool_ids resd 4
pool_flags resd 4
puts_done resd 1
gets resd 1
misses resd 1
flushes resd 1
pools resd 1
refused resd 1
tmembad resd 1
vector resd 1
words resd 4
alignb 8
idt resb 48 * 8

absolute 0x108000
resb 8192
stack_top:
tmem_page resb 4096

absolute TMEM_TABLE + 4 * HANDLES_MAX * 4
end_bss:
