/*
 * The switch for x86-64 System V: the callee-saved registers go on the old stack, its pointer into the
 * context, and the same backwards on the other side. See context.h.
 */
#if defined(__x86_64__) && !defined(CASCADE_UCONTEXT)

	.text

/* void context_switch(struct context *from, struct context *to) */
	.globl	context_switch
	.hidden	context_switch
	.type	context_switch, @function
	.balign	64
context_switch:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	(%rsi), %rsp
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	/*
	 * Not `ret`: the return-address predictor would expect the caller on the old stack and miss every
	 * time; the indirect-branch predictor learns the few places where tasks suspend.
	 */
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	jmpq	*%rcx
	.cfi_endproc
	.size	context_switch, .-context_switch

/*
 * void context_call(const struct context *on, void (*function)(void *), void *argument)
 *
 * The frame pointer keeps the old stack, for the way back and for whoever walks the stack from inside.
 */
	.globl	context_call
	.hidden	context_call
	.type	context_call, @function
	.balign	64
context_call:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	movq	(%rdi), %rsp
	andq	$-16, %rsp
	movq	%rdx, %rdi
	callq	*%rsi
	movq	%rbp, %rsp
	.cfi_def_cfa_register %rsp
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size	context_call, .-context_call

/*
 * void context_begin(struct context *from, void *high, context_entry *entry, void *argument)
 *
 * The entry keeps rbx. The way back is that of context_switch, with a `ret` that is predicted: as long as the
 * entry has not suspended, calls and returns are paired.
 */
	.globl	context_begin
	.hidden	context_begin
	.type	context_begin, @function
	.balign	64
context_begin:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	%rdi, %rbx
	movq	%rsi, %rsp
	.cfi_remember_state
	.cfi_undefined %rip
	xorl	%ebp, %ebp
	movq	%rcx, %rdi
	callq	*%rdx
	movq	(%rbx), %rsp
	.cfi_restore_state
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	.size	context_begin, .-context_begin

/* The first frame of every task: context_prepare left the entry in r12 and its argument in r13. */
	.globl	context_start
	.hidden	context_start
	.type	context_start, @function
	.balign	16
context_start:
	.cfi_startproc
	.cfi_undefined %rip
	movq	%r13, %rdi
	callq	*%r12
	ud2
	.cfi_endproc
	.size	context_start, .-context_start

#endif

	.section .note.GNU-stack, "", @progbits
