/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that is not Linux: an ELF with a PVH note. It checks what it is given (the start
 * info's magic), writes its command line to the serial port, then does what the command
 * line's first letter says: o power-off, r reset, k reset by the keyboard port, p panic,
 * t triple fault, h halt for ever. */
    .code32
    .section .note.pvh, "a", @note
    .long 4, 4, 18
    .ascii "Xen\0"
    .long start

    .text
    .globl start
start:
    movl $0x90000, %esp
    cmpl $0x336ec578, (%ebx)
    jne fault
    movl 24(%ebx), %esi
    movl %esi, %edi
    movw $0x3f8, %dx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  movb $10, %al
    outb %al, %dx
    movb (%edi), %cl
    movw $0x600, %dx
    movb $0x34, %al
    cmpb $'o', %cl
    je out
    movw $0x604, %dx
    movb $0x52, %al
    cmpb $'r', %cl
    je out
    movw $0x64, %dx
    movb $0xfe, %al
    cmpb $'k', %cl
    je out
    movw $0x505, %dx
    movb $1, %al
    cmpb $'p', %cl
    je out
    cmpb $'t', %cl
    je fault
halt:
    hlt
    jmp halt
out:
    outb %al, %dx
    jmp halt
fault:
    lidt nothing
    int3
    jmp halt

nothing:
    .word 0
    .long 0
    .section .note.GNU-stack, "", @progbits
