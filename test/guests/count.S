/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that counts, for checkpoints: each round it adds one to a number in a register
 * and to one in memory, writes the number as eight hex digits and a line feed to the
 * serial port, and writes the number to a page of its own (of 1,024, one after the other).
 * Register and memory must agree, and the page of 1,024 rounds ago must say so; else it
 * writes "bad" and stops. A pause between rounds: the command line's first letter f (fast)
 * makes it short. */
    .code32
    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .ascii "Xen\0"
    .long start

    .set pages, 0x200000
    .set counter, 0x80000
    .set spin, 0x80004
    .text
    .globl start
start:
    movl $0x90000, %esp
    movl 24(%ebx), %esi
    movl $20000, spin
    cmpb $'f', (%esi)
    jne 1f
    movl $50, spin
1:  xorl %ebp, %ebp
    movl $0, counter

round:
    incl %ebp
    incl counter
    cmpl counter, %ebp
    jne bad
    movl %ebp, %edi
    andl $1023, %edi
    shll $12, %edi
    movl pages(%edi), %eax
    testl %eax, %eax
    jz 2f
    addl $1024, %eax
    cmpl %eax, %ebp
    jne bad
2:  movl %ebp, pages(%edi)

    movl $8, %ecx
    movl %ebp, %ebx
    movw $0x3f8, %dx
3:  roll $4, %ebx
    movl %ebx, %eax
    andl $15, %eax
    movb digits(%eax), %al
    outb %al, %dx
    loop 3b
    movb $10, %al
    outb %al, %dx
    movl spin, %ecx
4:  pause
    loop 4b
    jmp round

bad:
    movl $said, %esi
    movl $4, %ecx
    movw $0x3f8, %dx
    rep outsb
5:  hlt
    jmp 5b

digits: .ascii "0123456789abcdef"
said:   .ascii "bad\n"
