/* A command that does nothing, without even libc's start: what is measured is the init. */
void _start(void) {
#if defined __x86_64__
    __asm__ volatile("syscall" : : "a"(231 /* exit_group */), "D"(0) : "rcx", "r11", "memory");
#elif defined __aarch64__
    register long number __asm__("x8") = 94 /* exit_group */, code __asm__("x0") = 0;
    __asm__ volatile("svc #0" : : "r"(number), "r"(code) : "memory");
#else
#error "add exit_group(0) for this architecture"
#endif
}
