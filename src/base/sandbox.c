#include "base/sandbox.h"

#include "base/fs.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define FILES_MAX        64 /* open at a time */
#define LANDLOCK_ABI_MIN 2  /* the first in which hard links between folders can be allowed */

/* What unpacking does: read a stream, make files, folders and links, write a report, and what malloc() needs. */
static const int allowed_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pwrite64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(statx),
    SCMP_SYS(openat2),
    SCMP_SYS(newfstatat),
    SCMP_SYS(mkdirat),
    SCMP_SYS(unlinkat),
    SCMP_SYS(linkat),
    SCMP_SYS(symlinkat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fchmod),
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(getrandom),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* Allowed where the third argument does not ask for executable memory. */
static const int mapping_calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};

bool sandbox_filters(void)
{
    return SANDBOX_FILTERS;
}

static int set_limits(struct err *err)
{
    const struct rlimit none = {0, 0}, files = {FILES_MAX, FILES_MAX},
                        memory = {SANDBOX_MEMORY_MAX, SANDBOX_MEMORY_MAX};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
        setrlimit(RLIMIT_NOFILE, &files) < 0 || (SANDBOX_FILTERS && setrlimit(RLIMIT_AS, &memory) < 0))
        return err_sys(err, "set limits");
    return 0;
}

/* Root without capabilities is the owner of its files and no more. */
static int drop_privileges(struct err *err)
{
    struct __user_cap_header_struct self = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &self, none) < 0)
        return err_sys(err, "drop capabilities");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_sys(err, "PR_SET_NO_NEW_PRIVS");
    return 0;
}

/* Nothing where the kernel has no Landlock, or too old a one: the confined opens of the work itself remain. */
static int confine(int folder_fd, struct err *err)
{
    const struct landlock_ruleset_attr all = {
        .handled_access_fs = (LANDLOCK_ACCESS_FS_REFER << 1) - 1, /* each that version 2 knows */
    };
    const struct landlock_path_beneath_attr folder = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |
                          LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SYM |
                          LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REFER,
        .parent_fd = folder_fd,
    };
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < LANDLOCK_ABI_MIN)
        return 0;
    AUTO_FD rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
    if (rules < 0 || syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &folder, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return err_sys(err, "Landlock");
    return 0;
}

static int add_rules(scmp_filter_ctx filter)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(allowed_calls); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(mapping_calls); i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, mapping_calls[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (rc == 0) /* futimens() alone: Landlock does not look at who sets the times of a path */
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(utimensat), 1, SCMP_A1(SCMP_CMP_EQ, 0, 0));
    return rc;
}

static int filter_calls(struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return err_nomem(err);
    int rc = add_rules(filter);
    if (rc == 0)
        rc = seccomp_load(filter);
    seccomp_release(filter);
    errno = -rc;
    return rc < 0 ? err_sys(err, "seccomp") : 0;
}

int sandbox_enter(int folder_fd, struct err *err)
{
    if (set_limits(err) < 0 || drop_privileges(err) < 0 || confine(folder_fd, err) < 0)
        return err_wrap(err, "sandbox");
    return !SANDBOX_FILTERS || filter_calls(err) == 0 ? 0 : err_wrap(err, "sandbox");
}
