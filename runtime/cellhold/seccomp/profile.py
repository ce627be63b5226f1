"""Which system calls a container may make. Data; compiler.py makes the filter.

Names are listed by purpose, and what is refused by argument. What is not named is
refused with EPERM. The reach is that of Docker's default profile, or less: keyrings,
io_uring and the older interface, userfaultfd, bpf, perf, new namespaces, mounts,
modules, kexec, clocks and swap are not named, because they are the usual way to kernel
bugs and no notebook needs them. Old 32-bit variants (chown32, stat64 ...) stand beside
their names: the filter covers the i386 and x32 calls of a 64-bit kernel too.
"""

from __future__ import annotations

from typing import NamedTuple

ALLOWED = {
    "files: open, read, write, seek, map": """
        open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek
        dup dup2 dup3 fcntl fcntl64 flock ioctl truncate truncate64 ftruncate ftruncate64 fallocate fadvise64 fadvise64_64 readahead
        fsync fdatasync sync syncfs sync_file_range sendfile sendfile64 copy_file_range splice tee vmsplice cachestat
        name_to_handle_at memfd_create memfd_secret""",
    "files: names, directories, links": """
        access faccessat faccessat2 chdir fchdir getcwd getdents getdents64 mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat
        readlink readlinkat rename renameat renameat2 unlink unlinkat umask""",
    "files: metadata": """
        stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx statfs statfs64 fstatfs fstatfs64 statmount listmount
        chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat
        utime utimes futimesat utimensat utimensat_time64
        getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr
        listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat""",
    "files: watching": "inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    "waiting for descriptors": """
        select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 eventfd eventfd2
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2""",
    "pipes and sockets": """
        pipe pipe2 socket socketpair socketcall bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt
        send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64""",
    "memory": """
        brk mmap mmap2 munmap mprotect mremap msync madvise mincore mlock mlock2 mlockall munlock munlockall mseal membarrier
        remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack""",
    "processes and threads": """
        fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill pidfd_open pidfd_send_signal process_mrelease
        getpid getppid gettid getpgid getpgrp setpgid getsid setsid set_tid_address set_thread_area get_thread_area rseq
        set_robust_list get_robust_list futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue prctl restart_syscall""",
    "looking at one's own processes (safe since Linux 4.8: ptrace can no longer step round the filter)": """
        ptrace process_vm_readv process_vm_writev""",
    "signals": """
        pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
        rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn uretprobe""",
    "identity": """
        getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32 getresuid getresuid32
        getresgid getresgid32
        setuid setuid32 setgid setgid32 setgroups setgroups32 setreuid setreuid32 setregid setregid32 setresuid setresuid32
        setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 capget capset""",
    "time (setting clocks needs CAP_SYS_TIME, which the kernel checks for adjtimex as well)": """
        time gettimeofday times alarm getitimer setitimer nanosleep clock_getres clock_getres_time64 clock_gettime clock_gettime64
        clock_nanosleep clock_nanosleep_time64 adjtimex clock_adjtime clock_adjtime64
        timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
        timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64""",
    "scheduling and limits": """
        sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler
        sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 getpriority
        setpriority ioprio_get ioprio_set getrlimit ugetrlimit setrlimit prlimit64 getrusage getcpu""",
    "System V and POSIX messages, semaphores, shared memory": """
        ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
        mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64""",
    "facts about the system": "uname sysinfo getrandom",
    "walls of one's own": "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
}

BY_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
}

WITH_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr
        mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
        unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}


class Argument(NamedTuple):
    """A condition on one argument of a call: (argument & mask) == value."""

    position: int
    value: int
    mask: int = 0xFFFF_FFFF_FFFF_FFFF


# Where the kernel reads an `int`, the comparison must look at 32 bits too: the kernel
# drops the upper half, a filter that compares all 64 lets `ioctl(fd, TIOCSTI | 1 <<
# 32)` and `socket(AF_VSOCK | 1 << 32)` through (CVE-2019-10063 was that).
_INT = 0xFFFF_FFFF
REFUSED: tuple[tuple[str, Argument], ...] = (
    ("ioctl", Argument(1, 0x5412, _INT)),  # TIOCSTI: types into the terminal that started the container
    ("ioctl", Argument(1, 0x541C, _INT)),  # TIOCLINUX: the same by way of the console's selection
    ("socket", Argument(0, 40, _INT)),  # AF_VSOCK: reaches the hypervisor past every network namespace
    ("socket", Argument(0, 38, _INT)),  # AF_ALG: the kernel's crypto, a row of privilege escalations and no user in a container
    ("socketcall", Argument(0, 1, _INT)),  # i386 SYS_SOCKET: its family lies in memory, where no filter can see it
    ("socketcall", Argument(0, 14, _INT)),  # i386 SYS_SETSOCKOPT: so does its option (see SOCKET_FILTERS)
)

# Programs of classic BPF on a socket: SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF,
# socket(7). The kernel compiles each into memory that is counted for the whole machine
# (net.core.bpf_jit_limit, 504 MiB) and not charged. 10,000 sockets of one container
# took all of it; then nobody without CAP_BPF on the host loads another (error 524), and
# that goes for system call filters, too.
_SOL_SOCKET = Argument(1, 1, _INT)
SOCKET_FILTERS = tuple((_SOL_SOCKET, Argument(2, option, _INT)) for option in (26, 51))

# Calls that make a file, or change its mode: where the mode is among their arguments,
# and which flag makes open(2) look at it. mkdir(2) is not here: the kernel drops both
# bits from its mode.
_O_CREAT, _O_TMPFILE = 0o100, 0o20000000
_MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
_MODES_OF_NEW = {"open": (1, 2), "openat": (2, 3)}  # its flags, its mode
_SET_IDS = (0o4000, 0o2000)
WITH_SET_IDS: tuple[tuple[str, tuple[Argument, ...]], ...] = (
    *((name, (Argument(mode, bit, bit),)) for name, mode in _MODES.items() for bit in _SET_IDS),
    *(
        (name, (Argument(flags, flag, flag), Argument(mode, bit, bit)))
        for name, (flags, mode) in _MODES_OF_NEW.items()
        for flag in (_O_CREAT, _O_TMPFILE)
        for bit in _SET_IDS
    ),
)

# Calls that set an extended attribute: where its size is among their arguments. A tmpfs
# keeps an access control list (acl(5)) in memory that no memory cgroup is charged for,
# 64 KiB for each and two for a directory, and its size does not count them: 4096 empty
# directories in 64 MiB of /dev/shm took half a gigabyte. The name lies in memory, so
# none may be that large: a list has at most 255 entries. These bits reach up to
# XATTR_SIZE_MAX, 65536, above which the kernel answers the same.
_SIZES = {"setxattr": 3, "lsetxattr": 3, "fsetxattr": 3}
LARGE_XATTRS: tuple[tuple[str, Argument], ...] = tuple(
    (name, Argument(size, 1 << bit, 1 << bit)) for name, size in _SIZES.items() for bit in range(11, 17)
)

# What does not exist inside (ENOSYS), so that programs go another way. Asynchronous
# I/O, the old interface: its events are counted for the whole machine (fs.aio-max-nr)
# and for nobody in particular; one container could take all of them from the host's
# databases. setxattrat: the size lies in memory.
ABSENT = "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64 setxattrat".split()

# The execution domains of personality(2) that change nothing of weight: PER_LINUX,
# PER_LINUX32, UNAME26, both, and "only tell me".
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFF_FFFF)

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: clone(2)
# without any of them is a thread or a fork. NEWTIME is not a flag of clone(2): its bit
# belongs to the exit signal there.
NEW_NAMESPACES = 0x7E02_0000
