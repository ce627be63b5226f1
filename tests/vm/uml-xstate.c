// Preloaded into User-mode Linux, for CPUs with AMX. UML keeps 2696 bytes of XSAVE state (up to AVX-512 and PKRU), but there
// PTRACE_SETREGSET wants the whole area (11 KB), and UML ends with "ptrace set fp regs failed, errno = 14". So what UML has kept
// is padded with zeros, and the components that it has not kept (AMX tiles) are marked as unused.
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PEEKTEXT = 1, PEEKUSER = 3, GETREGSET = 0x4204, SETREGSET = 0x4205, NT_X86_XSTATE = 0x202, XSTATE_BV = 512, KEPT = 0x3ff };

static long set_xstate(long pid, struct iovec *kept)
{
    static _Alignas(64) char area[1 << 16];
    static size_t size;
    struct iovec all = { area, sizeof area };

    if (!size) {
        if (syscall(SYS_ptrace, GETREGSET, pid, NT_X86_XSTATE, &all) < 0)
            return -1;
        size = all.iov_len;
    }
    if (kept->iov_len >= size)
        return syscall(SYS_ptrace, SETREGSET, pid, NT_X86_XSTATE, kept);
    memset(area, 0, size);
    memcpy(area, kept->iov_base, kept->iov_len);
    *(uint64_t *)(area + XSTATE_BV) &= KEPT;
    all.iov_len = size;
    return syscall(SYS_ptrace, SETREGSET, pid, NT_X86_XSTATE, &all);
}

long ptrace(int request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, int), address = va_arg(arguments, long);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == SETREGSET && address == NT_X86_XSTATE)
        return set_xstate(pid, data);
    if (request >= PEEKTEXT && request <= PEEKUSER) { // the system call stores the word, the C function returns it
        long word, status = syscall(SYS_ptrace, request, pid, address, &word);
        return status < 0 ? status : word;
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
