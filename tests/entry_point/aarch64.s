// Stands around the entry point of the binary: calls it as the kernel does, and is libc's `_start` to it.
// Exits with 0, or with the number of what is wrong.

.globl witness
witness:
    mov x0, #42             // The dynamic linker's exit function.
    mov x28, sp
    b sidecar_init_start

.globl _start
_start:
    mov x20, #1             // 1: the exit function is lost.
    cmp x0, #42
    b.ne end
    mov x20, #2             // 2: the stack is not as it was.
    mov x1, sp
    cmp x1, x28
    b.ne end
    sub sp, sp, #16
    mov x8, #135            // rt_sigprocmask
    mov x0, #0              // SIG_BLOCK: no set is given, so it only asks.
    mov x1, #0
    mov x2, sp
    mov x3, #8
    svc #0
    mov x20, #3             // 3: the mask can't be read.
    cbnz x0, end
    ldr x21, [sp]
    mov x20, #4             // 4: no signal is blocked.
    cbz x21, end
    mov x1, #-1             // All of them: the kernel leaves out KILL and STOP, an emulator some more.
    str x1, [sp]
    mov x8, #135            // rt_sigprocmask
    mov x0, #0              // SIG_BLOCK
    mov x1, sp
    mov x2, #0
    mov x3, #8
    svc #0
    mov x8, #135
    mov x0, #0
    mov x1, #0
    mov x2, sp
    mov x3, #8
    svc #0
    mov x20, #5             // 5: more signals can be blocked.
    ldr x1, [sp]
    cmp x21, x1
    b.ne end
    mov x20, #0
end:
    mov x0, x20
    mov x8, #94             // exit_group
    svc #0
