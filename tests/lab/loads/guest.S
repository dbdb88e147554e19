/* A machine that works and halts in turn, for ever: a boot sector of 16-bit code, which the lab's firmware starts at 0:7c00.
 *
 * WORK: 0 spins, 1 walks through memory, 2 follows a chain through memory, 3 writes to a port, which leaves the guest.
 * DIVISOR: of the timer's 1,193,182 Hz; 0: no timer, it never halts. ON, OFF: ticks of work and of rest; of ON it draws half to three halves.
 * SHARE: where not 0, it works after each tick instead, for so many thousandths of it: as much as it did at most in one of its first ticks.
 * OTHERS: whether the other processors spin, too.
 */
	.code16
	.globl _start
_start:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0x7c00, %sp

	/* A data segment of 4 GiB in %es, by a moment of protected mode. */
	lgdtw table
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	mov $8, %bx
	mov %bx, %es
	and $0xfe, %al
	mov %eax, %cr0
	ljmp $0, $real
real:
#if OTHERS
	/* INIT and twice SIPI to all others, which begin at 0x8000 with a jump to itself. */
	movw $0xfeeb, 0x8000
	mov $0xfee00300, %ebx
	movl $0x000c4500, %es:(%ebx)
	movl $0x000c4608, %es:(%ebx)
	movl $0x000c4608, %es:(%ebx)
#endif
	mov $88172645, %ebp
	mov $0x100000, %esi
#if DIVISOR
	movw $tick, 8 * 4
	movw $0, 8 * 4 + 2
	/* The local APIC is enabled, and lets the interrupt controller's interrupts through (LINT0 is ExtINT). */
	mov $0xfee000f0, %ebx
	movl $0x1ff, %es:(%ebx)
	mov $0xfee00350, %ebx
	movl $0x700, %es:(%ebx)
	/* The interrupt controller gives the timer's interrupts as number 8, and no others. Each ends by itself (AEOI): where KVM runs in a
	 * machine, each write to a port costs a tenth of a millisecond. */
	mov $0x11, %al
	out %al, $0x20
	mov $0x08, %al
	out %al, $0x21
	mov $0x04, %al
	out %al, $0x21
	mov $0x03, %al
	out %al, $0x21
	mov $0xfe, %al
	out %al, $0x21
	mov $0x34, %al
	out %al, $0x43
	mov $(DIVISOR & 0xff), %al
	out %al, $0x40
	mov $(DIVISOR >> 8), %al
	out %al, $0x40
	sti
#endif
#if SHARE
	/* How many pieces a tick has room for: the most of sixteen, since others may take a part of each. */
	mov $16, %bp
	xor %ebx, %ebx
count:
	hlt
	movw $1, left
	xor %edi, %edi
counting:
	call piece
	inc %edi
	cmpw $0, left
	jg counting
	cmp %ebx, %edi
	jbe no_more
	mov %edi, %ebx
no_more:
	dec %bp
	jnz count
	mov %ebx, %eax
	mov $SHARE, %ecx
	mul %ecx
	mov $1000, %ecx
	div %ecx
	inc %eax
	mov %eax, %ebx
main:
	mov %ebx, %edi
working:
	call piece
	dec %edi
	jnz working
	hlt
#elif DIVISOR
main:
	/* xorshift32 */
	mov %ebp, %eax
	shl $13, %eax
	xor %eax, %ebp
	mov %ebp, %eax
	shr $17, %eax
	xor %eax, %ebp
	mov %ebp, %eax
	shl $5, %eax
	xor %eax, %ebp
	movzwl %bp, %eax
	xor %edx, %edx
	mov $(ON + 1), %ecx
	div %ecx
	add $((ON + 1) / 2), %dx
	mov %dx, left
busy:
	call piece
	cmpw $0, left
	jg busy
	movw $OFF, left
idle:
	hlt
	cmpw $0, left
	jg idle
#else
main:
	call piece
#endif
	jmp main

tick:
	decw left
	iret

	/* Short: some hosts emulate each instruction of such a guest. */
piece:
	mov $16, %cx
1:
#if WORK == 1
	addl $1, %es:0x1000000(%esi)
	add $64, %esi
	and $0x1ffffff, %esi
#elif WORK == 2
	/* What was read, which is nothing, takes part in the next address: each waits for the one before. */
	mov %es:0x1000000(%esi), %eax
	imul $1664525, %esi, %edx
	lea 1013904192(%edx, %eax), %esi
	and $0x1ffffc0, %esi
#elif WORK == 3
	out %al, $0x80
#endif
	dec %cx
	jnz 1b
	ret

left:	.word 0
	.balign 8
table:	.word 15
	.long descriptors
descriptors:
	.quad 0
	.quad 0x00cf92000000ffff
